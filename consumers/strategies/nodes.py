"""A node as strategies see it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.fleet.pulse import Life
from headwater.fleet.records import NodeMode, Resources

_PRESENT_LEASES = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node as its last heartbeats tell.

    ``silent_s`` is how long ago the last was read, ``failed`` whether it was given up since then,
    ``failures`` when it failed lately, in milliseconds since 1970, oldest first.
    """

    node_id: str
    mode: NodeMode
    lease_s: float
    silent_s: float = 0.0
    failed: bool = False
    incarnation: bytes = b""
    kinds: frozenset[str] = frozenset()
    agents: int = 0
    resources: Resources | None = None
    failures: tuple[int, ...] = ()

    @classmethod
    def of(cls, life: Life, *, silent_s: float, failed: bool, failures: Sequence[int]) -> NodeView:
        """The view of a life."""
        return cls(
            node_id=life.node_id,
            mode=life.mode,
            lease_s=life.lease_s,
            silent_s=silent_s,
            failed=failed,
            incarnation=life.incarnation,
            kinds=frozenset(life.kinds),
            agents=len(life.agents),
            resources=life.resources,
            failures=tuple(failures),
        )

    @property
    def alive(self) -> bool:
        """Whether it was heard of within its lease, and not given up since."""
        return not self.failed and self.silent_s <= self.lease_s

    @property
    def present(self) -> bool:
        """Whether an answer may be expected of it: a heartbeat that is a little late does not mean
        that nobody is there, and one that is there is reported if it fails.
        """
        return not self.failed and self.silent_s <= _PRESENT_LEASES * self.lease_s

    @property
    def takes_agents(self) -> bool:
        """Whether it is a node at work, and may be told to start agents."""
        return self.alive and self.mode is NodeMode.RUNNING
