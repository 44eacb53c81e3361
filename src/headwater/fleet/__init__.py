"""What nodes, detectors, strategies and the on-call share: records, their topics, who runs what."""
