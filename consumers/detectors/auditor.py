"""Audits the states of agents without end, in a thread of its own: STATE_CORRUPTION and
DATA_INCONSISTENCY.

Round by round it takes one of the partitions that are its share: every agent's chain of snapshots
is proved, its events are replayed by themselves and held against snapshots and recovery, its
statuses against what its kind declares, and some owners and replicas are asked what they have. A
round is followed by a rest of twenty times its CPU time, so that it costs a twentieth of a core
however many agents there are. Snapshots that are being written are checked at once (:mod:`.fresh`),
and agents that look wrong are looked at again before anything is said of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import AgentNotFound, CorruptData, RetryableError
from headwater.fleet.control import Control
from headwater.fleet.records import FailureEvent, FailureType, Route
from headwater.log.resolve import read_snapshot
from headwater.log.snapshots import PROOF_ERRORS, Pointer, prove_chain
from headwater.recovery import Failed, Recovery
from headwater.recovery.verify import Verified, verify

from .asking import Asking, Verdict
from .corruption import Transitions, complaint, damaged, strayed, undeclared
from .finding import Finding, Topic, topic_of
from .fresh import FreshSnapshots
from .inconsistency import differing, unlike_the_log
from .outlook import Outlook
from .replay import Replayed, replay
from .timeouts import component_of

log = logging.getLogger("headwater.detectors")

FIRST = timedelta(seconds=10)
"""How long after the start the first round begins."""

_REST_TIMES = 20
_LEAST_REST_S = 1.0
_AGENTS_A_ROUND = 500
_SUSPECT_S = 60.0
_POLL_S = 0.25


class Auditor:
    """The thread, and what it has found. ``outlook`` may be replaced at any time."""

    def __init__(
        self,
        config: Config,
        agents_partitions: int,
        route: Callable[[str], Route | None],
        first: timedelta = FIRST,
    ) -> None:
        self.outlook = Outlook()
        self._config = config
        self._first_s = first.total_seconds()
        self._route = route
        self._recovery = Recovery(config, agents_partitions)
        self._stop = threading.Event()
        self._found: dict[Topic, Finding] = {}
        # When a topic was last found to be all right, in milliseconds since 1970.
        self._right: dict[Topic, int] = {}
        self._suspects: dict[str, float] = {}
        self._doubted: dict[Topic, float] = {}
        self._turns: dict[int, int] = {}
        self._mine: frozenset[int] = frozenset()
        self._last_partition = -1
        self._thread = threading.Thread(target=self._run, name="headwater-auditor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, and wait for that."""
        self._stop.set()
        self._thread.join()
        self._recovery.close()

    def findings(self, of: FailureType) -> list[Finding]:
        """What is wrong now, of one type."""
        return [finding for finding in tuple(self._found.values()) if finding.type is of]

    def right_since(self, topic: Topic) -> int:
        """When it was last found to be all right; 0 where nobody knows."""
        return self._right.get(topic, 0)

    def _run(self) -> None:
        fresh, control = FreshSnapshots(self._recovery), None
        next_s = time.monotonic() + self._first_s
        again_s = 0.0
        try:
            control = Control(self._config, f"detector:{self._config.node_id}")
            asking = Asking(self._recovery, control, self._route)
            while not self._stop.is_set():
                try:
                    self._follow(fresh)
                    for agent_id, snapshot, why in fresh.read(_POLL_S):
                        log.warning("%s: %s", snapshot, why)
                        self._suspects[agent_id] = time.monotonic() + _SUSPECT_S
                        again_s = 0.0
                    if time.monotonic() >= again_s:
                        again_s = _rested(lambda: self._look_again(asking))
                    if time.monotonic() >= next_s:
                        next_s = _rested(lambda: self._round(asking))
                except RetryableError as error:
                    log.info("the audit goes on after: %s", error)
                    self._stop.wait(1.0)
                except Exception:
                    log.exception("the audit goes on after an error")
                    self._stop.wait(_LEAST_REST_S * _REST_TIMES)
        finally:
            fresh.close()
            if control is not None:
                control.close()

    def _follow(self, fresh: FreshSnapshots) -> None:
        mine = self.outlook.partitions
        if mine != self._mine:
            # What is somebody else's may be put right meanwhile; what is open is looked at again.
            self._mine, self._found = mine, {}
            self._doubted.clear()
        fresh.follow(mine)

    def _round(self, asking: Asking) -> None:
        mine = sorted(self.outlook.partitions)
        if not mine:
            return
        number = next((p for p in mine if p > self._last_partition), mine[0])
        self._last_partition = number
        keys = sorted(self._recovery.index(number).entries)
        if not keys:
            return
        turn = self._turns.get(number, 0)
        ids = [k.decode(errors="replace") for k in keys[turn : turn + _AGENTS_A_ROUND]]
        self._turns[number] = turn + _AGENTS_A_ROUND if len(keys) > turn + _AGENTS_A_ROUND else 0
        self._suspects |= dict.fromkeys(self._wrong(number, ids), time.monotonic() + _SUSPECT_S)
        self._look_at_ways(number, ids)
        self._weigh(asking.some(number, ids, self.outlook))

    def _wrong(self, number: int, ids: Sequence[str]) -> list[str]:
        """The agents of which something is wrong."""
        wrong = []
        try:
            for each in verify(self._recovery, ids):
                if isinstance(each, Verified) and each.ok:
                    self._set_right(each.agent_id, "snapshots")
                elif not _is_unknown(each):
                    wrong.append(each.agent_id)
        except CorruptData as error:
            self._say(_broken_log(number, str(error)))
        return wrong

    def _look_again(self, asking: Asking) -> None:
        """Judge the agents that looked wrong, and those of which something wrong is open."""
        outlook, now_s = self.outlook, time.monotonic()
        self._suspects = {a: s for a, s in self._suspects.items() if s > now_s}
        reported = outlook.agents_with(snapshots=True)
        for agent_id in {*self._suspects, *reported}:
            if self._recovery.partition_of(agent_id) in outlook.partitions:
                self._judge(agent_id)
        self._doubted = {t: s for t, s in self._doubted.items() if s > now_s}
        ids = outlook.agents_with(FailureType.DATA_INCONSISTENCY, snapshots=False)
        ids |= {component.partition(":")[2] for _, component, _ in self._doubted}
        for number, keys in self._recovery.by_partition(ids):
            if keys and number in outlook.partitions:
                self._weigh(asking.about(number, sorted(k.decode() for k in keys), outlook))
        ids = outlook.agents_with(FailureType.STATE_CORRUPTION, snapshots=False)
        for number, keys in self._recovery.by_partition(ids):
            if keys and number in outlook.partitions:
                self._look_at_ways(number, sorted(k.decode() for k in keys))

    def _judge(self, agent_id: str) -> None:
        began_ms = wall_ms()
        why = self._unproved(agent_id)
        if why:
            self._say(damaged(agent_id, self._mark(agent_id), why, began_ms, self._kind(agent_id)))
            return
        (each,) = tuple(verify(self._recovery, [agent_id])) or (None,)
        if each is None or _is_unknown(each):
            return
        if isinstance(each, Failed):
            self._say(damaged(agent_id, self._mark(agent_id), str(each.error), began_ms))
        elif each.ok:
            self._set_right(agent_id, "snapshots", began_ms)
        else:
            self._say(unlike_the_log(agent_id, each.version, each.problems, began_ms))

    def _unproved(self, agent_id: str) -> str:
        """Why an agent's snapshots do not prove its state; empty where they do."""
        partition, key = self._recovery.partition_of(agent_id), agent_id.encode()
        fetch = self._recovery.fetch
        why = ""
        for _ in range(2):  # the index may have moved on between the two reads
            entry, _ = self._recovery.lookup(partition, key)
            if entry is None or not entry.snapshots:
                return ""
            try:
                chain = [read_snapshot(fetch, partition, agent_id, p) for p in entry.snapshots]
                prove_chain(chain, entry, self._recovery.resolve)
                why = self._malformed(partition, entry.snapshots)
            except PROOF_ERRORS as error:
                why = str(error)
            if not why:
                return ""
        return why

    def _malformed(self, partition: int, pointers: Iterable[Pointer]) -> str:
        """What is wrong with the records of a chain, each by itself."""
        pieces = partial(self._recovery.fetch, partition)
        values = (self._recovery.fetch(partition, pointer.offset) for pointer in pointers)
        return next((why for v in values if v is not None and (why := complaint(v, pieces))), "")

    def _mark(self, agent_id: str) -> tuple[str, ...]:
        """What the log calls the chain that does not prove."""
        partition = self._recovery.partition_of(agent_id)
        entry, _ = self._recovery.lookup(partition, agent_id.encode())
        return () if entry is None else (str(entry.snapshots[0].offset), entry.snapshot_hash.hex())

    def _look_at_ways(self, number: int, ids: Sequence[str]) -> None:
        """Hold the statuses of agents against what their kinds declare."""
        declared = {a: self.outlook.transitions.get(self._kind(a), {}) for a in ids}
        wanted: dict[str, set[int]] = {a: set() for a, t in declared.items() if t}
        if not wanted:
            return
        began_ms = wall_ms()
        for agent_id, found in replay(self._recovery, number, wanted).items():
            self._judge_ways(agent_id, found, declared[agent_id], began_ms)

    def _judge_ways(
        self, agent_id: str, found: Replayed, transitions: Transitions, at_ms: int
    ) -> None:
        wrong = list(undeclared(found.statuses, transitions, found.restored_at))
        if wrong:
            self._say(strayed(agent_id, wrong[-1], at_ms, self._kind(agent_id)))
        elif not found.error:
            self._set_right(agent_id, "transitions", at_ms)

    def _kind(self, agent_id: str) -> str:
        route = self._route(agent_id)
        return "" if route is None else route.kind

    def _weigh(self, verdicts: Iterable[Verdict]) -> None:
        """What differs is asked after again before anything is said of it."""
        now_s, at_ms = time.monotonic(), wall_ms()
        for each in verdicts:
            topic = FailureType.DATA_INCONSISTENCY, component_of(each.agent_id), each.subject
            if each.agrees or each.answer is None:
                self._doubted.pop(topic, None)
                self._set_right(each.agent_id, each.subject, at_ms)
            elif topic in self._doubted or topic in self._found:
                self._say(differing(each.answer, each.hashes, at_ms))
            else:
                self._doubted[topic] = now_s + _SUSPECT_S

    def _say(self, finding: Finding) -> None:
        before = self._found.get(finding.topic)
        if before is not None and before.failure_id == finding.failure_id:
            finding = replace(finding, first_symptom_at=before.first_symptom_at)
        self._found[finding.topic] = finding
        self._right.pop(finding.topic, None)

    def _set_right(self, agent_id: str, subject: str, at_ms: int | None = None) -> None:
        for of in (FailureType.STATE_CORRUPTION, FailureType.DATA_INCONSISTENCY):
            topic = of, f"agent:{agent_id}", subject
            known = self._found.pop(topic, None) is not None
            if known or any(topic_of(event) == topic for event in self.outlook.open):
                self._right[topic] = at_ms or wall_ms()


def _rested(work: Callable[[], None]) -> float:
    """Do something; when to do the next thing, so that it all takes but a share of a core."""
    began_s = time.thread_time()
    work()
    took_s = time.thread_time() - began_s
    return time.monotonic() + max(_LEAST_REST_S, _REST_TIMES * took_s)


def _is_unknown(each: Verified | Failed) -> bool:
    return isinstance(each, Failed) and isinstance(each.error, AgentNotFound)


def _broken_log(partition: int, why: str) -> Finding:
    return Finding(
        type=FailureType.STATE_CORRUPTION,
        component="fleet",
        subject=f"partition {partition}",
        mark=(str(partition),),
        description=f"records of partition {partition} are not those that were written: {why}",
        first_symptom_at=wall_ms(),
        context={"check": "log", "partition": partition, "problem": why},
    )


class Audited:
    """What the auditor finds of one type, as a detector."""

    def __init__(self, of: FailureType, auditor: Auditor) -> None:
        self.type = of
        self._auditor = auditor

    def findings(self, now_s: float) -> list[Finding]:
        """What is wrong now."""
        return self._auditor.findings(self.type)

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure is over: it was looked at again since, and all was right."""
        if self._auditor.right_since(topic_of(event)) > event.detected_at:
            return "what was wrong proves right again"
        return ""
