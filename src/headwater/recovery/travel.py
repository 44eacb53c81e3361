"""An agent at any moment of its past that is kept, with proof."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from headwater.errors import AgentNotFound, HeadwaterError, PointNotFound, Unprovable
from headwater.log.checkpoints import Checkpoint, CheckpointState
from headwater.log.snapshots import PROOF_ERRORS, Pointer
from headwater.recovery.checkpoints import find_checkpoint
from headwater.recovery.model import Recovered
from headwater.recovery.past import Missing, Past, Point
from headwater.recovery.recover import Recovery
from headwater.state.model import state_hash

log = logging.getLogger("headwater.recovery")

Moment = int | datetime | str
"""A version, an aware time, or the id of a checkpoint or of a snapshot."""

_REFUSED: tuple[type[HeadwaterError], ...] = (*PROOF_ERRORS, Unprovable)
_VERSION = re.compile(r"-(\d+)(?:-|$)")
_SNAPSHOT = re.compile(r"(?:.*\0)?(\d+)-(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Where a moment led: what was recovered, and the way there as an origin refers to it."""

    recovered: Recovered
    point: Point
    checkpoint: Checkpoint | None = None


def at(recovery: Recovery, agent_id: str, moment: Moment) -> Recovered:
    """The agent as it was at a moment: its state, proved like any that is recovered.

    A version is the agent's own count of changes, 0 being before the first. A time means every
    record before the first that was sent later, by its sender's clock; where the events of that
    time are gone, it is the newest snapshot from before it, and a warning says so. Works for
    deleted agents as well, as far as the log holds them. Inside an increment the head is known
    only as far as the version.

    Raises :class:`AgentNotFound`, :class:`PointNotFound` with what can be had instead, and
    :class:`Unprovable`.
    """
    return travel(recovery, agent_id, moment).recovered


def travel(recovery: Recovery, agent_id: str, moment: Moment) -> Trip:
    """:func:`at`, with the way there."""
    started = time.perf_counter()
    journey = _Journey(recovery, agent_id)
    past = journey.past
    try:
        point, checkpoint = journey.find(moment)
    except (Missing, Unprovable) as error:
        raise journey.not_found(moment, str(error)) from error
    if isinstance(moment, datetime) and not (point.agent.head.sequence or point.version):
        raise journey.not_found(moment, "it did not exist yet")
    for warning in past.warnings:
        log.warning("agent %s: %s", agent_id, warning)
    return Trip(
        recovered=Recovered(
            agent=point.agent,
            partition=past.partition,
            next_offset=point.next_offset,
            records=past.reader.count + journey.records,
            size_bytes=past.reader.size_bytes + journey.size_bytes,
            snapshots=past.reader.count,
            tail_records=past.tail_records,
            seconds=time.perf_counter() - started,
            warnings=tuple(past.warnings),
        ),
        point=point,
        checkpoint=checkpoint,
    )


def past_of(recovery: Recovery, agent_id: str) -> Past:
    """What is known of an agent's past before anything of it is read."""
    return _Journey(recovery, agent_id).past


def milliseconds(moment: datetime) -> int:
    """A time in milliseconds since 1970; :class:`PointNotFound` for one without a zone."""
    if moment.tzinfo is None:
        raise PointNotFound(f"{moment.isoformat()} may be anywhere: a time needs a zone")
    return int(moment.timestamp() * 1000)


class _Journey:
    """One look into an agent's past, in Kafka. It is the :class:`~.past.Log` of its past."""

    def __init__(self, recovery: Recovery, agent_id: str) -> None:
        self._recovery = recovery
        self._key = agent_id.encode()
        self._partition = recovery.partition_of(agent_id)
        self._topic = recovery.config.topic("events")
        self.records = 0
        self.size_bytes = 0
        entry, position = recovery.lookup(self._partition, self._key)
        self.past = Past(agent_id, self._partition, self, entry, position, recovery.resolve)
        self.past.reader.fetch_many = recovery.fetch_many
        self.past.reader.remembered = recovery.remembered

    # The log.

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots; None where there is none."""
        return self._recovery.fetch(partition, offset)

    def range(self) -> tuple[int, int]:
        """The offset of the first event that is kept, and that of the next one to come."""
        with self._recovery.scans.lend() as reader:
            return reader.range(self._topic, self._partition)

    def events(self, start: int, until: int) -> Iterator[tuple[int, bytes | None]]:
        """Offset and value of the agent's own records from ``start`` to before ``until``."""
        with self._recovery.scans.lend() as reader:
            for batch in reader.scan(self._topic, self._partition, start, until):
                self.records += len(batch)
                for message in batch:
                    if message.key() == self._key:
                        value = message.value()
                        self.size_bytes += len(value or b"")
                        yield message.offset() or 0, value

    def listed(self) -> Iterator[tuple[bytes, int, int]]:
        """Every snapshot record of the agent that there is."""
        topic, prefix = self._recovery.config.topic("snapshots"), self._key + b"\0"
        kept: dict[bytes, tuple[int, int]] = {}
        with self._recovery.scans.lend() as reader:
            for batch in reader.scan(topic, self._partition, None):
                for message in batch:
                    key, value = message.key() or b"", message.value()
                    if key.startswith(prefix):
                        kept.pop(key, None)
                        if value is not None:
                            kept[key] = message.offset() or 0, len(value)
        return ((key, *place) for key, place in kept.items())

    # Moments.

    def find(self, moment: Moment) -> tuple[Point, Checkpoint | None]:
        """The agent at a moment, and the checkpoint if it is one."""
        try:
            return self._find(moment)
        except Missing:
            # Nothing leads back to the snapshots of an agent that was deleted.
            if not self._may_be_unlisted(moment) or not self.past.search():
                raise
            return self._find(moment)

    def _find(self, moment: Moment) -> tuple[Point, Checkpoint | None]:
        if isinstance(moment, datetime):
            return self.at_time(moment), None
        if isinstance(moment, str):
            return self.at_name(moment)
        return self.at_version(moment), None

    def _may_be_unlisted(self, moment: Moment) -> bool:
        entry = self.past.entry
        if entry is None or not isinstance(moment, int):
            return entry is not None
        return 0 < moment < entry.head.version

    def at_version(self, version: int) -> Point:
        """The agent at a version."""
        if version < 0:
            raise Missing("versions count from 0")
        point = self.past.at_version(version)
        if version == 0 and self.past.entry is None and not self.past.newest().agent.head.sequence:
            raise AgentNotFound(f"agent {self.past.agent_id!r} is not in the log")
        return point

    def at_time(self, moment: datetime) -> Point:
        """The agent at a time."""
        past, limit = self.past, milliseconds(moment)
        with self._recovery.scans.lend() as reader:
            first, end = reader.range(self._topic, self._partition)
            later = reader.first_after(self._topic, self._partition, limit)
        offset = end if later is None else later
        try:
            if later is not None and offset == first > 0:
                raise Missing("the events of that time are gone")
            return past.at_offset(offset)
        except Missing as error:
            point = past.at_snapshot(limit)
            past.warnings.append(
                f"{error}: this is version {point.version}, of the newest snapshot before it, "
                f"written at {when(point.created_at)}"
            )
            return point

    def at_name(self, name: str) -> tuple[Point, Checkpoint | None]:
        """The agent at a checkpoint or, where the name is a snapshot's, at that."""
        agent_id = self.past.agent_id
        finding = self._recovery.submit(find_checkpoint, self._recovery, agent_id, name)
        guess = self._guess(name)
        try:
            checkpoint, state = finding.result()
        except PointNotFound:
            if (match := _SNAPSHOT.fullmatch(name)) is None:
                raise
            return self._at_snapshot(int(match[1]), int(match[2])), None
        if guess is not None:
            point, digest = guess
            if point.version == checkpoint.version and checkpoint.state_hash in (None, digest):
                return point, checkpoint
        return self._at_checkpoint(checkpoint, state), checkpoint

    def _guess(self, name: str) -> tuple[Point, bytes] | None:
        """The state at the version that a checkpoint's name speaks of, and its hash: read while
        the checkpoint itself is still being looked for.
        """
        match, entry = _VERSION.search(name), self.past.entry
        if match is None or entry is None or not 0 < int(match[1]) <= entry.head.version:
            return None
        told = len(self.past.warnings)
        try:
            point = self.past.at_version(int(match[1]))
        except _REFUSED:
            del self.past.warnings[told:]
            return None
        return point, _hash_of(point)

    def _at_snapshot(self, first: int, last: int) -> Point:
        for chain in self.past.chains():
            for pointer in chain.pointers:
                if (pointer.from_version, pointer.to_version) == (first, last):
                    return self.at_version(last)
        raise Missing("it has no such snapshot or checkpoint, or has it no longer")

    def _at_checkpoint(self, checkpoint: Checkpoint, state: CheckpointState | None) -> Point:
        past, version = self.past, checkpoint.version
        if state is not None:
            try:
                held = Pointer(state.offset, version, version, state.original_size)
                return past.held(held, checkpoint.state_hash)
            except PROOF_ERRORS as error:
                past.warnings.append(f"the checkpoint's own state: {error}")
        point = past.at_version(version)
        if checkpoint.state_hash not in (None, _hash_of(point)):
            raise Missing(f"version {version} has another state than the checkpoint")
        return point

    # What cannot be had.

    def not_found(self, moment: Moment, why: str) -> PointNotFound | AgentNotFound:
        """The error for a moment that is not kept; it says what can be had."""
        past = self.past
        if past.entry is None and not past.newest().agent.head.sequence:
            return AgentNotFound(f"agent {past.agent_id!r} is not in the log")
        what = {int: "version", str: "point"}.get(type(moment), "time")
        shown = moment.isoformat() if isinstance(moment, datetime) else repr(moment)
        return PointNotFound(
            f"agent {past.agent_id!r}: {what} {shown} cannot be had: {why}. {self._kept()}"
        )

    def _kept(self) -> str:
        past, oldest = self.past, None
        if self.range()[0] == 0:
            return "All its versions are kept"
        try:
            for chain in past.chains():
                oldest = past.reader.read(chain.pointers[0])
        except PROOF_ERRORS as error:
            past.warnings.append(str(error))
        if oldest is None:
            return "Only what its events lead to is kept"
        return f"The oldest snapshot is of version {oldest.to_version}, {when(oldest.created_at)}"


def _hash_of(point: Point) -> bytes:
    return state_hash(point.agent.head.agent_id, point.agent.document)


def when(created_at: int) -> str:
    """Milliseconds since 1970 as ISO time."""
    return datetime.fromtimestamp(created_at / 1000, UTC).isoformat(timespec="seconds")
