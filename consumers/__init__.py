"""Apps that act on what the log says: detectors, recovery strategies, retention, backup."""
