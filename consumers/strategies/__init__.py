"""Strategies: what is done about failures, by a process that needs no person.

``python -m consumers.strategies`` and ``headwater heal`` run one; several share the work.
"""

from .context import Answers, Context, HandedOver
from .node_failure import NodeFailure
from .service import Handler, Settings
from .strategy import Result, Strategy, choose

__all__ = [
    "Answers",
    "Context",
    "HandedOver",
    "Handler",
    "NodeFailure",
    "Result",
    "Settings",
    "Strategy",
    "choose",
]
