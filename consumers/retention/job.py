"""One pass of retention over a cluster: look, plan, and carry the plan out.

Why nothing that is written meanwhile can be harmed:

- Only records that the inventory holds are ever touched. What is committed later is not in it.
- A partition is read in this order: the compactor's position, snapshots, index, checkpoints. Each
  is read up to where its log ended *after* the one before was read, and open transactions are
  waited for. The compactor commits all of them at once. So whatever the snapshots show, the index
  entries and checkpoints of that commit are known, too.
- An index entry never goes back: what it lists no more, no later one lists again, and a chain that
  was replaced is never changed again. So a snapshot that a newer index does not list, and whose
  chain was replaced by one that was read here, is one that nobody will list.
- A checkpoint marks the head as it is. So one that is made later is never of a chain that was
  replaced by then; those of the commit that replaced it were read.
- Forks may refer to old records at any time. The events behind the position say so before the
  compactor has met them: they are read for the plan, and again before each commit, see
  :class:`~.sweep.Sweeper`.
- Readers go by index entries, pointers and plans of their own that are a little old. Nothing goes
  that was replaced within the grace period, and a broker compacts a tombstone's record away only
  after ``min.compaction.lag.ms``, another ten minutes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import Message

from headwater.config import Config
from headwater.crash import crash_point
from headwater.errors import HeadwaterError, PointNotFound, Unprovable
from headwater.log.snapshots import PROOF_ERRORS
from headwater.recovery import Recovery

from .agents import Hold
from .broker import Broker
from .hold import Holder
from .inventory import Followed
from .model import Holdings
from .plan import Deleted, PartitionPlan, Plan, count_losses, make_plan
from .policy import Policy
from .sweep import Overtaken, Sweeper, Tails
from .writer import Writer

log = logging.getLogger("headwater.retention")

_NOT_TO_BE_HAD: tuple[type[HeadwaterError], ...] = (*PROOF_ERRORS, Unprovable, PointNotFound)


@dataclass(slots=True, kw_only=True)
class Done:
    """What a pass did: the plan that it carried out, how many checkpoints got a state of their
    own and with how many bytes, those whose state could not be had and why, and the partitions
    that were left to the next pass, because somebody began to need what was to go.
    """

    plan: Plan
    held: int = 0
    held_bytes: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    overtaken: list[int] = field(default_factory=list)


class Retention:
    """Deletes what is not to be kept any more, in all partitions of a cluster.

    Keeps what it knows of the topics, so that a second pass reads only what is new: about 400
    bytes for each live snapshot and each agent. Not for use by two threads.
    """

    def __init__(self, config: Config, partitions: int, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._config = config
        self._numbers = range(partitions)
        self._recovery = Recovery(config, partitions)
        self._broker = Broker(config)
        self._tails = Tails(self._broker, partitions)
        self._followed = [Followed(p, self._recovery.fetch) for p in self._numbers]
        self._positions: dict[int, int] = {}

    def close(self) -> None:
        """Give the connections back."""
        self._broker.close()
        self._recovery.close()

    def plan(self, now_ms: int, *, measure: bool = True) -> Plan:
        """What a pass at ``now_ms`` (milliseconds since 1970) would do; changes nothing.

        With ``measure`` the events that are to go are read, too, to count what they hold.
        """
        fleet = self._look(now_ms)
        return self._counted(make_plan(fleet, self.policy, now_ms), fleet, measure)

    def run(
        self, now_ms: int, *, measure: bool = False, stop: threading.Event | None = None
    ) -> Done:
        """One pass. What a former one had begun when it was killed, this one completes.

        Ends early once ``stop`` is set. Raises :class:`Fenced` where another instance began a
        pass meanwhile: nothing is lost by that.
        """
        # First of all, for what a dead predecessor left undecided hides what is behind it.
        writer = Writer(self._config)
        try:
            fleet = self._look(now_ms)
            done = Done(plan=make_plan(fleet, self.policy, now_ms))
            self._write(done, fleet, now_ms, writer, stop or threading.Event())
        finally:
            writer.close()
        done.plan = self._counted(done.plan, fleet, measure)
        if stop is None or not stop.is_set():
            self._delete_events(done)
        return done

    def _counted(self, plan: Plan, fleet: list[Holdings], measure: bool) -> Plan:
        parts = plan.partitions if measure else ()
        count_losses(plan, fleet, {part.partition: self._deleted(part) for part in parts})
        return plan

    def _write(
        self, done: Done, fleet: list[Holdings], now_ms: int, writer: Writer, stop: threading.Event
    ) -> None:
        holder = Holder(self._recovery, writer, self._config.node_id)
        cannot = set()
        for hold in [hold for part in done.plan.partitions for hold in part.holds]:
            if stop.is_set():
                return
            if not self._hold(holder, hold, done):
                cannot.add(hold.checkpoint.key)
        done.held_bytes = holder.size_bytes
        if cannot:
            done.plan = make_plan(fleet, self.policy, now_ms, frozenset(cannot))
        crash_point("retention.held")
        sweeper = Sweeper(self._broker, writer, self._tails, self._config.node_id)
        for part in done.plan.partitions:
            if stop.is_set():
                return
            try:
                seen = self._followed[part.partition].next_offsets["checkpoints"]
                sweeper.sweep(part.partition, part.drops, self._positions, seen)
            except Overtaken as error:
                log.info("partition %d: left to the next pass: %s", part.partition, error)
                done.overtaken.append(part.partition)

    @staticmethod
    def _hold(holder: Holder, hold: Hold, done: Done) -> bool:
        checkpoint = hold.checkpoint
        try:
            holder.hold(hold)
        except _NOT_TO_BE_HAD as error:
            log.error(
                "checkpoint %r of agent %r needs other records, which stay for it: %s",
                checkpoint.checkpoint_id, checkpoint.agent_id, error,
            )  # fmt: skip
            done.failed.append((checkpoint.agent_id, checkpoint.checkpoint_id, str(error)))
            return False
        done.held += 1
        return True

    def _delete_events(self, done: Done) -> None:
        # After all else: what is to stand in for events is committed by now.
        crash_point("retention.before_delete_records")
        self._broker.delete_events(
            {
                part.partition: part.low_water
                for part in done.plan.partitions
                if part.low_water > part.events_start and part.partition not in done.overtaken
            }
        )
        crash_point("retention.after_delete_records")

    def _look(self, now_ms: int) -> list[Holdings]:
        self._read("index", Followed.take_index)
        self._positions = {f.partition: f.position for f in self._followed}
        self._read("snapshots", Followed.take_snapshot)
        self._read("index", Followed.take_index)
        self._read("checkpoints", Followed.take_checkpoint)
        starts = self._broker.starts("events", self._numbers)
        young = self._broker.since("events", self._numbers, now_ms - self.policy.events_ms)
        origins = tuple(self._tails.read(self._positions))
        return [
            Holdings(
                partition=each.partition,
                snapshots=each.snapshots,
                chunks=each.chunks,
                index=each.index(),
                checkpoints=each.checkpoints,
                states=each.states,
                position=each.position,
                events_start=starts[each.partition],
                young=young[each.partition],
                backup=each.backup,
                origins=origins if each.partition == 0 else (),
            )
            for each in self._followed
        ]

    def _read(self, topic: str, take: Callable[[Followed, Message], None]) -> None:
        ends = self._broker.ends(topic, self._numbers)
        for each in self._followed:
            end = ends[each.partition]
            start = each.next_offsets.get(topic)
            for message in self._broker.read(topic, each.partition, start, end):
                take(each, message)
            each.next_offsets[topic] = max(end, start or 0)

    def _deleted(self, part: PartitionPlan) -> dict[str, Deleted]:
        found: dict[str, list[int]] = {}
        if part.low_water > part.events_start:
            for message in self._events(part):
                key = (message.key() or b"").decode(errors="replace")
                sums = found.setdefault(key, [0, 0, 0])
                sums[0] += 1
                sums[1] += len(message.key() or b"") + len(message.value() or b"")
                sums[2] = message.offset() or 0
        return {
            name: Deleted(records=records, size=size, last=last)
            for name, (records, size, last) in found.items()
        }

    def _events(self, part: PartitionPlan) -> Iterable[Message]:
        return self._broker.read("events", part.partition, part.events_start, part.low_water)
