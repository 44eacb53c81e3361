"""Gives a checkpoint a state of its own, so that it needs no other record any more."""

from __future__ import annotations

import msgspec

from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.errors import InvalidState
from headwater.log.checkpoints import (
    Checkpoint,
    CheckpointState,
    decode_checkpoint,
    encode_state,
    held_id,
    state_key,
)
from headwater.log.fold import Agent
from headwater.log.resolve import read_snapshot
from headwater.log.sealing import Sealed, seal
from headwater.log.snapshots import (
    Pointer,
    Snapshot,
    extend_agent,
    extend_partly,
    full_snapshot,
    start_agent,
)
from headwater.recovery import Recovery
from headwater.recovery.travel import at
from headwater.wire import codec

from .agents import Hold
from .model import Stored
from .writer import Writer


class Holder:
    """Writes the states of checkpoints, each in one transaction: killed midway, it has written
    nothing, and the next pass begins again.
    """

    def __init__(self, recovery: Recovery, writer: Writer, node_id: str) -> None:
        self._recovery = recovery
        self._writer = writer
        self._node_id = node_id
        self._written: dict[tuple[str, int], CheckpointState] = {}
        self.size_bytes = 0

    def hold(self, hold: Hold) -> None:
        """Write the state of one checkpoint, and where it is.

        Raises one of ``PROOF_ERRORS``, :class:`Unprovable` or :class:`PointNotFound` where the
        state cannot be had, or is not the one that the checkpoint was made of.
        """
        marked = hold.checkpoint
        partition = self._recovery.partition_of(marked.agent_id)
        checkpoint = self._read(partition, marked.offset)
        same = self._written.get((checkpoint.agent_id, checkpoint.version))
        if same is None and hold.held is not None:
            same = self._found(partition, checkpoint, hold.held)
        if same is not None:
            self._point_to(partition, checkpoint, same)
        else:
            self._write(
                partition, checkpoint, seal(self._snapshot(hold, checkpoint), compress_bytes=0)
            )

    def _read(self, partition: int, offset: int) -> Checkpoint:
        topic = self._recovery.config.topic("checkpoints")
        with self._recovery.points.lend() as reader:
            message = reader.get(topic, partition, offset)
        if message is None:
            raise InvalidState(f"no checkpoint at offset {offset} any more", "pointer")
        return decode_checkpoint(message.value() or b"")

    def _snapshot(self, hold: Hold, checkpoint: Checkpoint) -> Snapshot:
        agent, events_offset = self._agent(hold, checkpoint)
        # What is between two snapshots knows less of its head than the checkpoint does.
        agent.head = msgspec.structs.replace(
            agent.head,
            version=checkpoint.version,
            sequence=checkpoint.sequence,
            hash=checkpoint.hash,
            session_id=checkpoint.session_id,
            request_id=checkpoint.request_id,
        )
        full = full_snapshot(
            agent, events_offset=events_offset, node_id=self._node_id, created_at=wall_ms()
        )
        if checkpoint.state_hash not in (None, full.state_hash):
            raise InvalidState(
                f"version {checkpoint.version} of agent {checkpoint.agent_id!r} has another state "
                f"than its checkpoint {checkpoint.checkpoint_id!r} was made of", "state_hash",
            )  # fmt: skip
        held = held_id(checkpoint.agent_id, checkpoint.version)
        return msgspec.structs.replace(full, snapshot_id=held)

    def _agent(self, hold: Hold, checkpoint: Checkpoint) -> tuple[Agent, int]:
        recovery = self._recovery
        if not hold.path:
            found = at(recovery, checkpoint.agent_id, checkpoint.version)
            return found.agent, found.next_offset
        partition = recovery.partition_of(checkpoint.agent_id)
        first, *more = (self._stored(partition, record) for record in hold.path)
        agent = start_agent(first, recovery.resolve)
        events_offset = first.events_offset
        for snapshot in more:
            if snapshot.to_version > checkpoint.version:
                extend_partly(agent, snapshot, checkpoint.version)
            else:
                extend_agent(agent, snapshot)
                events_offset = snapshot.events_offset
        return agent, events_offset

    def _stored(self, partition: int, record: Stored) -> Snapshot:
        pointer = Pointer(record.offset, record.from_version, record.to_version, 0)
        return read_snapshot(self._recovery.fetch, partition, record.agent_id, pointer)

    def _write(self, partition: int, checkpoint: Checkpoint, sealed: Sealed) -> None:
        writer, payload = self._writer, sealed.snapshot.payload
        offsets: dict[str, int] = {}

        def put(key: str, value: bytes) -> None:
            def written(offset: int) -> None:
                offsets[key] = offset

            writer.put("snapshots", partition, key.encode(), value, written)
            self.size_bytes += len(key) + len(value)

        with writer.transaction():
            for key, value in sealed.chunks:
                put(key, value)
            writer.settle()
            crash_point("retention.chunks_written")
            key = sealed.snapshot.snapshot_id
            put(key, sealed.value([offsets[name] for name, _ in sealed.chunks]))
            writer.settle()
            crash_point("retention.state_written")
            state = CheckpointState(
                checkpoint_id=checkpoint.checkpoint_id,
                agent_id=checkpoint.agent_id,
                version=checkpoint.version,
                offset=offsets[key],
                codec=sealed.codec,
                original_size=len(payload),
                compressed_size=len(sealed.stored),
                created_at=sealed.snapshot.created_at,
            )
            self._put_state(partition, state)
            crash_point("retention.before_hold_commit")
        self._written[checkpoint.agent_id, checkpoint.version] = state
        crash_point("retention.after_hold_commit")

    def _found(self, partition: int, checkpoint: Checkpoint, record: Stored) -> CheckpointState:
        value = self._recovery.fetch(partition, record.offset)
        if value is None:
            raise InvalidState(f"no snapshot at offset {record.offset} any more", "pointer")
        found = codec("Snapshot").decode(value)
        compressed = found["codec"] != "none"
        size = found["original_size"] if compressed else len(found["payload"])
        return CheckpointState(
            checkpoint_id=checkpoint.checkpoint_id,
            agent_id=checkpoint.agent_id,
            version=checkpoint.version,
            offset=record.offset,
            codec=found["codec"],
            original_size=size,
            compressed_size=found["compressed_size"] if compressed else size,
            created_at=wall_ms(),
        )

    def _point_to(self, partition: int, checkpoint: Checkpoint, same: CheckpointState) -> None:
        """Another checkpoint of that version has the state already. Written once more, it would
        take the place of the record that the other one names.
        """
        state = msgspec.structs.replace(same, checkpoint_id=checkpoint.checkpoint_id)
        with self._writer.transaction():
            self._put_state(partition, state)

    def _put_state(self, partition: int, state: CheckpointState) -> None:
        key, value = state_key(state.agent_id, state.checkpoint_id), encode_state(state)
        self._writer.put("checkpoints", partition, key, value)
        self.size_bytes += len(key) + len(value)
