"""When the demo kills whom, and what it does with the orphans."""

from __future__ import annotations

import queue
from typing import cast

import pytest

from headwater.demo import direct
from headwater.demo.direct import DemoFailed, Director, Ledger
from headwater.demo.gauge import Gauge
from headwater.demo.plan import AgentPlan, Plan, Step
from headwater.demo.record import Event, Seen
from headwater.demo.stage import Stage


class FakeStage:
    """Workers that do each step as soon as they have the agent, and can be killed."""

    def __init__(self, plan: Plan) -> None:
        self.events: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self.given: list[tuple[int, str]] = []
        self.killed: list[str] = []
        self._steps = {each.agent_id: [step.id for step in each.steps] for each in plan.agents}

    def hand_over(self, number: int, agent_id: str) -> None:
        """The worker does all steps; the victim stops in the middle of the sixth."""
        self.given.append((number, agent_id))
        left = self._steps[agent_id]
        while left:
            self._tell(number, Event(kind="begin", agent=agent_id, step=left[0]))
            if number == direct.VICTIM and len(left) == 5:
                return
            self._tell(number, Event(kind="ack", agent=agent_id, step=left.pop(0)))
        self._tell(number, Event(kind="finished", agent=agent_id))

    def kill_worker(self, number: int) -> float:
        """The end of its output comes next."""
        self.killed.append(f"worker-{number}")
        self._tell(number, Event(kind="gone", text="-9"))
        return 7.0

    def kill_compactor(self) -> float:
        """Nothing follows."""
        self.killed.append("compactor")
        return 6.0

    def start_compactor(self) -> int:
        """Another one's process id."""
        return 99

    def last_words(self, name: str) -> str:
        """What it said last."""
        return f"last words of {name}"

    def _tell(self, number: int, event: Event) -> None:
        self.events.put(Seen(worker=number, at_s=8.0, event=event))


class FakeGauge:
    """A compactor that has committed."""

    def commits(self, compactor: str) -> int:
        """Enough to be killed."""
        return 10


def plan(agents: int) -> Plan:
    """A plan with ten steps for each agent."""
    steps = tuple(Step(id=f"s{i}", kind="files", distribution="d", folder="/") for i in range(10))
    return Plan(
        installed={},
        agents=tuple(AgentPlan(agent_id=f"a{i}", steps=steps) for i in range(agents)),
    )


def make(agents: int) -> tuple[FakeStage, Director, list[str]]:
    """A director with three workers on a fake stage, and what it says."""
    stage, said = FakeStage(plan(agents)), list[str]()
    director = Director(
        cast("Stage", stage),
        cast("Gauge", FakeGauge()),
        plan(agents),
        {1: 11, 2: 12, 3: 13},
        said.append,
        lambda count: None,
    )
    return stage, director, said


def play(agents: int) -> tuple[FakeStage, Ledger, list[str]]:
    """The whole play."""
    stage, director, said = make(agents)
    return stage, director.play(), said


@pytest.mark.parametrize("agents", [1, 2, 3, 8])
def test_victim_dies_with_its_work_undone(agents: int) -> None:
    """The victim is killed within a step of an agent of its own, and others finish its agents."""
    stage, ledger, said = play(agents)
    assert sorted(stage.killed) == ["compactor", "worker-2"]
    kill = ledger.kill_of("worker-2")
    assert kill is not None
    assert kill.agents
    assert kill.open_steps
    assert (kill.pid, kill.at_s) == (12, 7.0)
    for agent_id in kill.agents:
        owners = [worker for worker, given in stage.given if given == agent_id]
        assert owners[0] == direct.VICTIM
        assert owners[1] in (1, 3)
    assert sum("goes on in" in text for text in said) == len(kill.agents)


def test_work_is_left_when_the_compactor_dies() -> None:
    """The last agent begins only after the compactor was killed, and not in the victim."""
    stage, ledger, _ = play(4)
    assert ledger.kill_of("compactor-1") is not None
    assert (1, "a3") in stage.given


def test_a_worker_that_ends_by_itself_ends_the_demo() -> None:
    """Only the victim may die; what another one said last is told."""
    stage, director, _ = make(3)
    stage.events.put(Seen(worker=1, at_s=1.0, event=Event(kind="gone", text="1")))
    with pytest.raises(DemoFailed, match="last words of worker-1"):
        director.play()


def test_a_failed_agent_ends_the_demo() -> None:
    """An error that a worker could not mend is told."""
    stage, director, _ = make(3)
    event = Event(kind="failed", agent="a1", text="TooLarge: …")
    stage.events.put(Seen(worker=3, at_s=1.0, event=event))
    with pytest.raises(DemoFailed, match="TooLarge"):
        director.play()


def test_silence_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that hang are not waited for without end; the agents that hang are named."""
    monkeypatch.setattr(direct, "STALLED_S", 0.1)
    stage, director, _ = make(1)
    stage.hand_over = lambda number, agent_id: None  # type: ignore[method-assign]
    with pytest.raises(DemoFailed, match="a0 are not finished"):
        director.play()
