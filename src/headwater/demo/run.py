"""The demo from its first process to its result."""

from __future__ import annotations

import platform
import secrets
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import confluent_kafka
import msgspec

from headwater.client import Client
from headwater.config import Config
from headwater.connection import connect
from headwater.demo.audit import uninterrupted
from headwater.demo.direct import DemoFailed, Director, Ledger
from headwater.demo.gauge import Gauge
from headwater.demo.plan import Plan, installed_packages, make_plan
from headwater.demo.replay import replay
from headwater.demo.stage import Stage
from headwater.demo.verdict import Verdict, judge
from headwater.errors import AgentNotFound
from headwater.kafka import clients
from headwater.local import VERSION, ExistingKafka, LocalKafka, kafka_or_existing
from headwater.recovery import Recovered
from headwater.state.model import AgentState
from headwater.topics import ALL

PARTITIONS = 4
_READY_S = 30.0
# A group with Kafka's default settings gives a dead member's partitions away after 45 s.
_SETTLED_S = 60.0
_POLL_S = 0.1


class Narrator(Protocol):
    """Who tells people what happens."""

    def say(self, text: str) -> None:
        """Tell one thing."""

    def steps(self, total: int) -> None:
        """Begin to count steps, to ``total``."""

    def advance(self, count: int) -> None:
        """So many more steps were acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How large the demo is: agents, worker processes, and about how many steps an agent has."""

    agents: int = 8
    workers: int = 3
    steps: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. ``problems`` has a sentence for everything that is not as it must be."""

    verdicts: tuple[Verdict, ...]
    problems: tuple[str, ...]
    details: dict[str, Any]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """One object: each agent's figures, and those over all of them."""
        agents = [
            {name: getattr(each, name) for name in Verdict.__slots__} for each in self.verdicts
        ]
        return {
            "agents": agents,
            "steps": sum(each.steps for each in self.verdicts),
            "restarted": sum(each.restarted for each in self.verdicts),
            "repeated": sum(each.repeated for each in self.verdicts),
            "lost": sum(each.lost for each in self.verdicts),
            "hash_equal": all(each.hash_equal for each in self.verdicts),
            "recovery_ms": max(filter(None, (v.recovery_ms for v in self.verdicts)), default=None),
            "problems": list(self.problems),
            **self.details,
        }


def run(settings: Settings, narrator: Narrator) -> Result:
    """Play the demo on the cluster that the environment names, else on a local one of its own.

    Raises a :class:`HeadwaterError` if it cannot be played; what went wrong in it is in the result.
    """
    began = time.monotonic()
    plan = make_plan(installed_packages(), settings.agents, settings.steps)
    with kafka_or_existing() as kafka, _folder() as folder, _topics(kafka) as config:
        narrator.say(_opening(kafka, plan, settings, time.monotonic() - began))
        path = folder / "plan.json"
        plan.write(path)
        with ThreadPoolExecutor(1) as pool:
            stage = Stage(config, folder, path)
            ledger, calm, compaction = _play(config, plan, settings, stage, narrator, pool)
            narrator.say("a new client recovers each agent, and replays the log")
            with connect(config) as client:
                recovered = _recover(client, plan)
                replayed = replay(config, client.partitions)
            verdicts = tuple(
                judge(each, ledger, recovered.get(each.agent_id), state)
                for each, state in zip(plan.agents, calm.result(), strict=True)
            )
    problems = [*_problems(verdicts, ledger, compaction), *_doubts(plan, recovered, replayed)]
    details = _details(kafka, plan, settings, ledger, recovered)
    details |= {"compactor": compaction, "seconds": round(time.monotonic() - began, 2)}
    return Result(verdicts=verdicts, problems=tuple(problems), details=details)


def _opening(
    kafka: LocalKafka | ExistingKafka, plan: Plan, settings: Settings, seconds: float
) -> str:
    steps = sum(len(each.steps) for each in plan.agents)
    started = "started" if isinstance(kafka, LocalKafka) else "found"
    return (
        f"Kafka {started} at {kafka.bootstrap_servers} ({seconds:.1f} s); "
        f"{len(plan.agents)} agents in {settings.workers} processes audit "
        f"{len(plan.installed)} distributions in {steps} steps"
    )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headwater-demo-") as folder:
        yield Path(folder)


@contextmanager
def _topics(kafka: LocalKafka | ExistingKafka) -> Iterator[Config]:
    """A configuration with topics of the demo's own; in a cluster that stays they are deleted."""
    config = Config.load(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=f"headwater-demo-{secrets.token_hex(4)}.",
        profile="fast",
        node_id="demo",
        partitions=PARTITIONS,
        create_topics=True,
    )
    try:
        yield config
    finally:
        if isinstance(kafka, ExistingKafka):
            admin = clients.admin(config)
            for future in admin.delete_topics([config.topic(spec.name) for spec in ALL]).values():
                future.exception()


def _play(
    config: Config,
    plan: Plan,
    settings: Settings,
    stage: Stage,
    narrator: Narrator,
    pool: ThreadPoolExecutor,
) -> tuple[Ledger, Future[list[AgentState]], dict[str, Any]]:
    """From the first process until the work is done and the second compactor has caught up.

    Meanwhile ``pool`` begins to do the same steps without any interruption.
    """
    with connect(config) as client, stage, Gauge(config, client.partitions) as gauge:
        compactor = stage.start_compactor()
        pids = {number: stage.start_worker(number) for number in range(1, settings.workers + 1)}
        _await_compactor(stage, gauge)
        narrator.say(
            f"the compactor (process {compactor}) and the workers "
            f"({', '.join(str(pid) for pid in pids.values())}) are ready"
        )
        narrator.steps(sum(len(each.steps) for each in plan.agents))
        director = Director(stage, gauge, plan, pids, narrator.say, narrator.advance)
        director.compactor_pid = compactor
        ledger = director.play()
        narrator.say("every step is done; now they are done again, and nobody interrupts")
        calm = pool.submit(_calmly, plan)
        return ledger, calm, _settle(client, plan, ledger, gauge, narrator)


def _calmly(plan: Plan) -> list[AgentState]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # in the code that is audited
        return [uninterrupted(each, plan.installed) for each in plan.agents]


def _await_compactor(stage: Stage, gauge: Gauge) -> None:
    deadline = time.monotonic() + _READY_S
    while not gauge.owns_all("compactor-1"):
        if stage.compactor_ended or time.monotonic() > deadline:
            words = stage.last_words("compactor-1") or "it says nothing"
            raise DemoFailed(f"the compactor is not ready: {words}")
        time.sleep(_POLL_S)


def _settle(
    client: Client, plan: Plan, ledger: Ledger, gauge: Gauge, narrator: Narrator
) -> dict[str, Any]:
    """Wait until snapshots hold everything; tells when the second compactor was at work again."""
    kill = ledger.kill_of("compactor-1")
    began = time.monotonic()
    caught_up = False
    while kill is not None and not caught_up and time.monotonic() < began + _SETTLED_S:
        time.sleep(_POLL_S)
        caught_up = gauge.first_commit_s("compactor-2") is not None and all(
            _is_compacted(client.recover(each.agent_id)) for each in plan.agents
        )
    first_s = gauge.first_commit_s("compactor-2")
    resumed_ms = None if kill is None or first_s is None else (first_s - kill.at_s) * 1000
    if resumed_ms is not None:
        narrator.say(f"the second compactor has committed since {resumed_ms:.0f} ms after the kill")
    return {
        "resumed_ms": None if resumed_ms is None else round(resumed_ms, 1),
        "commits": gauge.commits("compactor-1") + gauge.commits("compactor-2"),
        "caught_up": caught_up,
    }


def _is_compacted(recovered: Recovered) -> bool:
    return recovered.snapshots > 0 and recovered.tail_records == 0


def _recover(client: Client, plan: Plan) -> dict[str, Recovered]:
    found = {}
    for each in plan.agents:
        try:
            found[each.agent_id] = client.recover(each.agent_id)
        except AgentNotFound:
            continue  # its steps are counted as lost
    return found


def _problems(
    verdicts: tuple[Verdict, ...], ledger: Ledger, compaction: dict[str, Any]
) -> Iterator[str]:
    for each in verdicts:
        if each.lost:
            yield f"{each.id}: {each.lost} acknowledged steps are missing"
        if each.repeated:
            yield f"{each.id}: {each.repeated} steps were committed twice"
        if not each.hash_equal:
            yield f"{each.id}: its state is not that of an uninterrupted run"
        if each.steps != each.planned:
            yield f"{each.id}: {each.steps} of {each.planned} steps are done"
    if not any(kill.agents for kill in ledger.kills):
        yield "no worker was killed in the middle of its work"
    if ledger.kill_of("compactor-1") is None:
        yield "no compactor was killed: the work was done before it had begun its own"
    elif not compaction["caught_up"]:
        yield f"the second compactor had not caught up after {_SETTLED_S:g} s"


def _doubts(
    plan: Plan, recovered: dict[str, Recovered], replayed: dict[str, bytes]
) -> Iterator[str]:
    """What the log itself says against the recovered states."""
    for each in plan.agents:
        agent = recovered.get(each.agent_id)
        if agent is None:
            continue
        if agent.state_hash != replayed.get(each.agent_id):
            yield f"{each.agent_id}: its events, replayed, give another state than its snapshots"
        if agent.version != len(each.steps):
            yield f"{each.agent_id}: {agent.version} changes count, for {len(each.steps)} steps"
        if agent.inapplicable:
            yield f"{each.agent_id}: {agent.inapplicable} changes could not be applied"
        yield from (f"{each.agent_id}: {warning}" for warning in agent.warnings)


def _details(
    kafka: LocalKafka | ExistingKafka,
    plan: Plan,
    settings: Settings,
    ledger: Ledger,
    recovered: dict[str, Recovered],
) -> dict[str, Any]:
    totals = [agent.state.data.get("totals", {}) for agent in recovered.values()]
    began_s = ledger.seen[0].at_s
    return {
        "kills": [
            {
                "who": kill.who,
                "pid": kill.pid,
                "at_s": round(kill.at_s - began_s, 3),
                "agents": list(kill.agents),
                "open_steps": list(kill.open_steps),
            }
            for kill in ledger.kills
        ],
        "audit": {
            "distributions": len(plan.installed),
            **{name: sum(t.get(name, 0) for t in totals) for name in _TOTALS},
        },
        "workers": settings.workers,
        "snapshots": sum(agent.snapshots for agent in recovered.values()),
        "versions": {
            "headwater": _version("headwater"),
            "python": platform.python_version(),
            "kafka": VERSION if isinstance(kafka, LocalKafka) else None,
            "confluent_kafka": confluent_kafka.__version__,
            "librdkafka": confluent_kafka.libversion()[0],
            "msgspec": msgspec.__version__,
        },
    }


_TOTALS = ("files", "verified", "size_bytes", "problems")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
