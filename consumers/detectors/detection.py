"""One detector process: follows everything, finds what is wrong, and reports what is its to report.

One thread reads heartbeats and judges nodes by them: that is what has to be quick. What takes long,
the audit of states, has a thread of its own (:mod:`.auditor`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from headwater.clock import Clock, suspended_clock
from headwater.config import Config
from headwater.errors import RetryableError
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.pulse import Beat, Pulse
from headwater.fleet.records import FailureEvent, FailureType, Metric, NodeMode
from headwater.fleet.routes import Routes
from headwater.topics import HEARTBEATS, connect_fleet

from .auditor import FIRST, Audited, Auditor
from .canaries import Canaries
from .degradation import Degradation
from .exhaustion import Exhaustion
from .finding import Finding, place_of
from .health import LocalHealth
from .journal import Journal
from .nodes import NodeFailures
from .outlook import Outlook
from .ownership import Ownership
from .partitions import NetworkPartitions
from .schedule import Detector, Guarded, Job
from .timeouts import Timeouts
from .unseen import TO_RUN, unseen_nodes

log = logging.getLogger("headwater.detectors")

_HISTORY_LEASES = 5
_SHORTEST_HISTORY_S = 10.0
_TEND_S = 0.05
_UNSEEN_S = 1.0
_UNSEEN_LEASES = 3
_LONGEST_WAIT_S = 0.1
_METRICS_S = 1.0
_OUTLOOK_S = 1.0
_LOOK_S = 1.0
_FORGET_EVERY_S = 60.0
_FORGET_AFTER_S = 3600.0
_PLACES = HEARTBEATS.partitions or 1


class Detection:
    """A detector. ``run`` blocks until its ``stop`` event is set; ``audit_after`` is when the first
    look at the states of agents is due.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock = suspended_clock,
        *,
        audit_after: timedelta = FIRST,
    ) -> None:
        self._config = config
        self._clock = clock
        timing = config.timing
        self._interval_s = timing.heartbeat.total_seconds()
        self._lease_s = timing.lease.total_seconds()
        self.health = LocalHealth(self._interval_s)
        self._agents_partitions = connect_fleet(config)
        self._pulse = Pulse(
            config, clock, history_s=max(_SHORTEST_HISTORY_S, _HISTORY_LEASES * self._lease_s)
        )
        self._routes = Routes(config)
        self._journal = Journal(config)
        self._canaries = Canaries(config)
        self._ownership = Ownership(config)
        self._metrics = Feed(config, "metrics", "end")
        self._auditor = Auditor(config, self._agents_partitions, self._routes.get, audit_after)
        lives = self._pulse.lives
        self._nodes = NodeFailures(self._canaries.each, self.health, self._has_work)
        self._nodes_found = 0
        self._partitions = NetworkPartitions(lives, self._interval_s, self._lease_s)
        self._timeouts = Timeouts(lives, self._routes)
        self._exhaustion = Exhaustion(lives)
        self._degradation = Degradation(lives)
        self._started_s = clock()
        self._loop_s = self._started_s
        self._jobs = self._plan()

    def _plan(self) -> list[Job]:
        """What is done again and again, and how often: each for itself, whatever others meet."""
        quick: list[Detector] = [self._nodes, self._partitions]
        others: list[Detector] = [
            self._timeouts,
            self._exhaustion,
            self._degradation,
            Audited(FailureType.STATE_CORRUPTION, self._auditor),
            Audited(FailureType.DATA_INCONSISTENCY, self._auditor),
        ]
        self._hear = Guarded(
            "NODE_FAILURE, taking a heartbeat", lambda each: self._nodes.take(*each)
        )
        self._look = Guarded("NODE_FAILURE", self._look_at_nodes)
        self._takers = [
            Guarded(f"{d.type.value}, taking a heartbeat", d.take)
            for d in (self._partitions, self._timeouts, self._exhaustion, self._degradation)
        ]
        reports = [(d, self._interval_s) for d in quick] + [(d, _LOOK_S) for d in others]
        return [
            Job("ownership", self._tend, _TEND_S),
            Job("unseen nodes", self._look_for_unseen, _UNSEEN_S),
            Job("metrics", self._read_metrics, _METRICS_S),
            Job("outlook", self._brief_auditor, _OUTLOOK_S),
            Job("forgetting", self._forget_the_dead, _FORGET_EVERY_S),
            *(Job(d.type.value, partial(self._report, d), every_s) for d, every_s in reports),
        ]

    @property
    def owned(self) -> frozenset[int]:
        """The partitions whose components this detector reports."""
        return frozenset(self._ownership.owned)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then leave the group. Raises Headwater's errors for what no
        retry can mend.
        """
        log.info("detector %s started, profile %s", self._config.node_id, self._config.profile)
        try:
            self._auditor.start()
            while not stop.is_set():
                try:
                    self._round()
                except RetryableError as error:
                    log.warning("goes on after: %s", error)
                    stop.wait(self._interval_s)
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group, and close every connection."""
        for part in (
            self._ownership,
            self._auditor,
            self._canaries,
            self._journal,
            self._metrics,
            self._routes,
            self._pulse,
        ):
            part.close()
        log.info("detector %s stopped", self._config.node_id)

    def _round(self) -> None:
        wait_s = self._wait_s(self._clock())
        beats = self._pulse.read(wait_s)
        now_s = self._clock()
        self._mind_myself(now_s, wait_s)
        for beat in beats:
            if beat.record.kind == "PROBE":
                self._canaries.take(beat, now_s)
                continue
            self._take(beat, now_s)
        self._canaries.tend(now_s)
        self._look(now_s)
        for job in self._jobs:
            job.run(now_s)

    def _take(self, beat: Beat, now_s: float) -> None:
        record = beat.record
        life = self._pulse.lives.get(record.node_id)
        if life is None or life.incarnation != record.incarnation:
            return
        self._hear((record, beat.partition, now_s))
        if record.agents_complete and record is life.beat:
            for take in self._takers:
                take(life)

    def _look_at_nodes(self, now_s: float) -> None:
        self._canaries.send(self._nodes.look(now_s), now_s)
        if self._nodes.found > self._nodes_found:
            self._nodes_found = self._nodes.found
            self._report(self._nodes, now_s)

    def _wait_s(self, now_s: float) -> float:
        """How long there is nothing to do."""
        due_s = min(
            self._canaries.next_s(), self._nodes.next_s(), *(job.due_s for job in self._jobs)
        )
        return min(_LONGEST_WAIT_S, max(0.0, due_s - now_s))

    def _mind_myself(self, now_s: float, waited_s: float) -> None:
        late_s = max(0.0, now_s - self._loop_s - waited_s)
        self._loop_s = now_s
        self.health.took(late_s, now_s)
        if late_s > self._interval_s / 2:
            self._nodes.was_away(late_s)
        if late_s > self._lease_s:
            log.warning("was %d ms late itself: that is nobody's silence", late_s * 1000)

    def _tend(self, now_s: float) -> None:
        self._ownership.poll()
        self._routes.read(0)
        self._journal.read()

    def _ready(self) -> bool:
        return self._journal.ready and self._pulse.caught_up and self._routes.caught_up

    def _report(self, detector: Detector, now_s: float) -> None:
        if not self._ready():
            return
        self._journal.read()
        self._report_all(detector.findings(now_s))
        for event in self._mine(detector.type):
            why = detector.cleared(event, now_s)
            if why:
                self._journal.resolve(event, why)

    def _report_all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if self._is_mine(finding.component):
                self._journal.report(finding)

    def _is_mine(self, component: str) -> bool:
        return place_of(component, self._agents_partitions) in self._ownership.owned

    def _mine(self, of: FailureType) -> list[FailureEvent]:
        return [e for e in self._journal.open(of) if self._is_mine(e.component)]

    def _read_metrics(self, now_s: float) -> None:
        for message in self._metrics.read(0):
            metric = decoded(Metric, message)
            if metric is not None:
                self._exhaustion.take_metric(metric)
                self._degradation.take_metric(metric)

    def _brief_auditor(self, now_s: float) -> None:
        """Tell the auditor what it has to know, in a piece of its own: it is another thread."""
        owned = self._ownership.owned
        living = [
            life
            for life in self._pulse.lives.values()
            if life.mode is NodeMode.RUNNING and now_s - life.read_s < self._lease_s
        ]
        self._auditor.outlook = Outlook(
            partitions=frozenset(p for p in range(self._agents_partitions) if p % _PLACES in owned),
            transitions={k.kind: k.transitions for life in living for k in life.kinds.values()},
            living=frozenset(life.node_id for life in living),
            with_replicas=frozenset(
                life.node_id for life in living if life.resources and life.resources.replicas
            ),
            open=(
                *self._mine(FailureType.STATE_CORRUPTION),
                *self._mine(FailureType.DATA_INCONSISTENCY),
            ),
        )

    def _forget_the_dead(self, now_s: float) -> None:
        """Of nodes that were not heard of for an hour keep but the name: they may come back."""
        for node_id, life in self._pulse.lives.items():
            if now_s - life.read_s > _FORGET_AFTER_S and not self._routes.on(node_id):
                life.agents, life.kinds, life.peers = {}, {}, {}
                self._nodes.forget(node_id)

    def _look_for_unseen(self, now_s: float) -> None:
        patience_s = _UNSEEN_LEASES * self._lease_s * self.health.stretch
        proved = all(
            canary.proven_s > self._started_s + patience_s + canary.allowance_s(now_s)
            for canary in self._canaries.each.values()
        )
        if proved and self._ready():
            seen = self._pulse.lives.keys() | self._pulse.previous.keys()
            self._report_all(unseen_nodes(self._routes, seen, self._journal.last))

    def _has_work(self, node_id: str, incarnation: str) -> bool:
        routes = self._routes.on(node_id)
        return any(r.incarnation.hex() == incarnation and r.status in TO_RUN for r in routes)
