"""What `./dev check` runs beside ruff and mypy."""
