"""The compactor: turns the log of events into full and incremental snapshots and their index.

``python -m streams.snapshots`` runs one instance; any number share the partitions.
"""

from .compactor import Compactor, CompactorStats, PartitionStats, to_json
from .partition import Bounds, Timing
from .strategy import STRATEGIES, Budget, ChainLength, Decision, Outweigh, Strategy, make_strategy

__all__ = [
    "STRATEGIES",
    "Bounds",
    "Budget",
    "ChainLength",
    "Compactor",
    "CompactorStats",
    "Decision",
    "Outweigh",
    "PartitionStats",
    "Strategy",
    "Timing",
    "make_strategy",
    "to_json",
]
