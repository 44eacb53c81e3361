"""Follows heartbeats: who lives, with which agents, and how long ago each was heard of.

Times are those of reading, on the clock that leases use: a claimer may act once a whole lease has
passed since it *read* the owner's last heartbeat, and a record of its own, written after that, has
come back (see :mod:`headwater.agent.lease`). A clock of another machine decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.clock import Clock, suspended_clock, wall_ms
from headwater.config import Config
from headwater.fleet.feed import Feed, decoded, partitions_of
from headwater.fleet.records import (
    AgentMode,
    AgentReport,
    Heartbeat,
    KindReport,
    NodeMode,
    PeerReport,
    Resources,
)

_POLL_S = 0.05


@dataclass(slots=True)
class Life:
    """One process under its node id, as its heartbeats tell.

    ``first_s`` and ``read_s``: when the first and the last were read, in seconds of the pulse's
    clock. ``agents`` has the changes of partial beats in it.
    """

    node_id: str
    incarnation: bytes
    partition: int
    first_s: float
    read_s: float
    beat: Heartbeat
    agents: dict[str, AgentReport] = field(default_factory=dict)
    kinds: dict[str, KindReport] = field(default_factory=dict)
    peers: dict[str, PeerReport] = field(default_factory=dict)
    resources: Resources | None = None

    @property
    def mode(self) -> NodeMode:
        """What the process does with its agents, as it last said."""
        return self.beat.mode

    @property
    def address(self) -> str:
        """host:port of its health endpoint; empty where it has none."""
        return self.beat.address

    @property
    def lease_s(self) -> float:
        """Its lease in seconds."""
        return self.beat.lease_ms / 1000

    def take(self, beat: Heartbeat, now_s: float) -> None:
        """Go on to the process's next heartbeat, read at ``now_s``."""
        self.beat, self.read_s = beat, now_s
        if beat.agents_complete:
            self.agents = {a.agent_id: a for a in beat.agents}
            self.kinds = {k.kind: k for k in beat.kinds}
            self.peers = {p.node_id: p for p in beat.peers}
            self.resources = beat.resources
            return
        for agent in beat.agents:
            if agent.state is AgentMode.GONE:
                self.agents.pop(agent.agent_id, None)
            else:
                self.agents[agent.agent_id] = agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat as it was read: ``record`` is a BEAT or a PROBE."""

    record: Heartbeat
    partition: int
    offset: int
    read_s: float


class Lives:
    """The latest life of each node, and the one before it; pure."""

    def __init__(self) -> None:
        self.current: dict[str, Life] = {}
        self.previous: dict[str, Life] = {}
        self._ended: set[bytes] = set()

    def take(self, beat: Beat) -> None:
        """Take a BEAT in; PROBEs are none of its business."""
        record = beat.record
        if record.kind != "BEAT" or record.incarnation in self._ended:
            return
        life = self.current.get(record.node_id)
        if life is None or life.incarnation != record.incarnation:
            if life is not None:
                # Of two processes under one name the later one counts from its first heartbeat on.
                self.previous[record.node_id] = life
                self._ended.add(life.incarnation)
            life = Life(
                record.node_id,
                record.incarnation,
                beat.partition,
                beat.read_s,
                beat.read_s,
                record,
            )
            self.current[record.node_id] = life
        life.take(record, beat.read_s)

    def forget(self, node_id: str) -> None:
        """Drop a node that will not come back."""
        for lives in (self.current, self.previous):
            if (life := lives.pop(node_id, None)) is not None:
                self._ended.add(life.incarnation)


class Pulse:
    """Follows all heartbeats, for one thread.

    It begins ``history_s`` back (by the brokers' timestamps), so that it knows at once who has
    beaten lately; what it reads then counts as read now, which only makes claims wait longer.
    """

    def __init__(
        self, config: Config, clock: Clock = suspended_clock, *, history_s: float = 0.0
    ) -> None:
        start = wall_ms() - round(history_s * 1000)
        self._clock = clock
        self._feed = Feed(config, "heartbeats", start if history_s > 0 else "end")
        self._lives = Lives()
        self.started_s = clock()
        self.partitions = partitions_of("heartbeats")

    @property
    def lives(self) -> dict[str, Life]:
        """By node id, the latest process under it."""
        return self._lives.current

    @property
    def previous(self) -> dict[str, Life]:
        """By node id, the process before it, where there was one."""
        return self._lives.previous

    @property
    def positions(self) -> dict[int, int]:
        """For each partition, the offset behind the last record read."""
        return self._feed.positions

    @property
    def caught_up(self) -> bool:
        """Whether everything was read that was there when this was made."""
        return self._feed.caught_up

    def catch_up(self) -> None:
        """Read everything that was there when this was made."""
        while not self.caught_up:
            self.read(_POLL_S)

    def read(self, timeout_s: float) -> list[Beat]:
        """The heartbeats that have come, PROBEs too, waiting up to ``timeout_s`` for one."""
        beats = []
        for message in self._feed.read(timeout_s):
            record = decoded(Heartbeat, message)
            if record is None:
                continue
            beat = Beat(
                record=record,
                partition=message.partition() or 0,
                offset=message.offset() or 0,
                read_s=self._clock(),
            )
            self._lives.take(beat)
            beats.append(beat)
        return beats

    def forget(self, node_id: str) -> None:
        """Drop a node that will not come back."""
        self._lives.forget(node_id)

    def close(self) -> None:
        """Stop following."""
        self._feed.close()
