"""What a node does when its lease runs out: it stops before anybody else may take over, keeps what
it has on its own disk, and goes on with what is still its own once the lease holds again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from headwater.agent.checkpoint import new_note
from headwater.agent.lease import Lease
from headwater.agent.session import Session
from headwater.clock import wall_ms
from headwater.errors import HeadwaterError, SessionClosed, Unavailable
from headwater.log.checkpoints import Checkpoint
from headwater.log.exports import encode_export
from headwater.log.notes import CheckpointType
from headwater.node.chores import Chores
from headwater.node.host import Host
from headwater.state.model import state_hash
from headwater.tiers.store import Store

log = logging.getLogger("headwater.node")

_FILES = 3
_TRIES = 5
_ENOUGH = 1 / 3


class Fence:
    """Looks at the lease; :meth:`look` is called every few milliseconds, by one thread."""

    def __init__(
        self,
        lease: Lease,
        host: Host,
        chores: Chores,
        keep: Store | None,
        resumed: Callable[[int], None],
    ) -> None:
        self._lease = lease
        self._host = host
        self._chores = chores
        self._keep = keep
        self._resumed = resumed
        self._generation: int | None = None  # none yet
        self._since_ms = 0
        self._enough_s = lease.lease_ms / 1000 * _ENOUGH
        self._kept: dict[str, int] = {}

    @property
    def left_s(self) -> float:
        """Until the lease runs out."""
        return self._lease.clock.term.until_s - self._lease.clock.now()

    def look(self) -> None:
        """Stop, or go on, as the lease says."""
        term = self._lease.clock.term
        holds = self._lease.clock.holds(term.generation)
        if self._generation is None:
            self._generation = term.generation if holds else None
            return
        if not self._host.fenced and (not holds or term.generation != self._generation):
            self._stop()
        # Not on a lease that is about to run out again, as under brokers that answer late.
        calm = self.left_s >= self._enough_s and not self._lease.strained
        if self._host.fenced and holds and calm:
            self._generation = term.generation
            self._go_on()

    def _stop(self) -> None:
        host = self._host
        host.fenced = True
        self._since_ms = wall_ms()
        error = SessionClosed(f"the lease of node {self._lease.node_id!r} ran out")
        sessions = host.interrupt_all(error)
        log.warning("the lease ran out: %d agents were stopped", len(sessions))
        host.posts.audit(
            "node.fenced",
            message=f"its lease ran out; {len(sessions)} agents were stopped",
            agents=len(sessions),
        )
        if self._keep is not None and sessions:
            keep = self._keep
            self._chores.do(lambda: self._keep_all(keep, sessions))

    def _keep_all(self, keep: Store, sessions: list[Session]) -> None:
        kept = 0
        for session in sessions:
            if not self._host.fenced:
                break  # the log can be had again, and the work is better done for that
            version = session.version
            if self._kept.get(session.agent_id) == version:
                kept += 1  # as it was the last time
            elif keep_session(keep, session, "the node's lease ran out"):
                self._kept[session.agent_id] = version
                kept += 1
        self._host.posts.audit(
            "node.emergency",
            message=f"emergency checkpoints of {kept} agents are on its own disk",
            kept=kept,
            agents=len(sessions),
        )

    def _go_on(self) -> None:
        self._host.fenced = False
        self._resumed(wall_ms() - self._since_ms)


def keep_session(keep: Store, session: Session, label: str) -> bool:
    """Save what a session had, sent changes included, as a checkpoint's file, which proves itself;
    whether that could be done. The log knows better as soon as it can be read: the file is for
    when it never can.
    """
    folder = f"emergency/{session.agent_id}/"
    try:
        checkpoint, data = exported(session, label)
        name = f"{checkpoint.created_at:015d}-{checkpoint.version}"
        keep.put(folder + name, data)
        for old in [entry.key for entry in keep.scan(folder)][:-_FILES]:
            keep.remove(old)
    except HeadwaterError as error:
        log.warning("agent %s: no emergency checkpoint: %s", session.agent_id, error)
        return False
    return True


def exported(session: Session, label: str) -> tuple[Checkpoint, bytes]:
    """A session's state, with what is in flight, as a checkpoint and its file."""
    for _ in range(_TRIES):
        try:
            document = session.copy().to_document()
            break
        except RuntimeError as error:  # a step that does not know yet changes it meanwhile
            log.debug("agent %s was copied while it changed: %s", session.agent_id, error)
    else:
        raise Unavailable(f"agent {session.agent_id!r} is changed all the time")
    digest = state_hash(session.agent_id, document)
    note = new_note(CheckpointType.EMERGENCY.value, label, None, session.version, digest)
    made = session._made(note, session.version, session._sequence, session._hash, wall_ms())
    return made, encode_export(made, document)
