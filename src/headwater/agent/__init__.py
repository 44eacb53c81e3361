"""Agent sessions: claiming, leases, changes and what is known of each once it was sent."""
