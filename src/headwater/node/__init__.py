"""The node runtime: hosts agents in one process, drives their steps, and obeys commands."""
