"""Retention: the one job that deletes, and the promise of what it keeps.

``python -m consumers.retention`` makes a pass every few minutes; ``headwater prune`` makes one.
"""

from .job import Done, Retention
from .model import BackupPin
from .pins import BACKUP_KEY, decode_pin, encode_pin
from .plan import AgentPlan, PartitionPlan, Plan, make_plan
from .policy import Policy

__all__ = [
    "BACKUP_KEY",
    "AgentPlan",
    "BackupPin",
    "Done",
    "PartitionPlan",
    "Plan",
    "Policy",
    "Retention",
    "decode_pin",
    "encode_pin",
    "make_plan",
]
