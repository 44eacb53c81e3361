"""Detectors: one for each type of failure, whose findings go to the ``recovery`` topic.

``python -m consumers.detectors`` runs one instance; any number share the work, and one of them
reports each failure.
"""

from .detection import Detection
from .finding import Finding
from .schedule import Detector

__all__ = ["Detection", "Detector", "Finding"]
