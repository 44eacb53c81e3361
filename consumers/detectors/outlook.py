"""What the audit has to know of the fleet: given to it anew by whoever follows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.fleet.records import FailureEvent, FailureType

from .corruption import Transitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The partitions of events that are to be audited, what kinds declare, the nodes at work and
    those among them that keep replicas, and the failures of states that are open.
    """

    partitions: frozenset[int] = frozenset()
    transitions: dict[str, Transitions] = field(default_factory=dict)
    living: frozenset[str] = frozenset()
    with_replicas: frozenset[str] = frozenset()
    open: tuple[FailureEvent, ...] = ()

    def agents_with(self, of: FailureType | None = None, *, snapshots: bool) -> set[str]:
        """The agents of open failures, of a type where one is given: those about snapshots, or
        those about anything else.
        """
        return {
            str(event.context["agent_id"])
            for event in self.open
            if of in (None, event.type)
            and "agent_id" in event.context
            and (event.context.get("subject") == "snapshots") == snapshots
        }
