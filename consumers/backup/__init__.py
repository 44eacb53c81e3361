"""The backup: copies snapshots, index and checkpoints to a storage tier, exactly once.

``python -m consumers.backup --to URL`` runs one instance; any number share the partitions.
"""

from .copier import Copier, Copies
from .job import Backup, BackupStats, PartitionStats, to_json, yield_to_others
from .once import release, run_once
from .source import Source
from .status import PartitionStatus, Status, status

__all__ = [
    "Backup",
    "BackupStats",
    "Copier",
    "Copies",
    "PartitionStats",
    "PartitionStatus",
    "Source",
    "Status",
    "release",
    "run_once",
    "status",
    "to_json",
    "yield_to_others",
]
