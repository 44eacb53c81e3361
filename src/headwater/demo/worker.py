"""A worker process: owns agents, and does their steps, a thread each.

Started as ``python -m headwater.demo.worker PLAN``, with its connection in the environment. From
standard input it reads the ids of agents to take, a line each, until that ends; on standard output
it says what it does (see :mod:`headwater.demo.record`). To take an agent that has an owner means to
wait until that owner's lease has run out.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from headwater.agent.session import Session
from headwater.client import Client
from headwater.connection import connect
from headwater.demo import audit, record
from headwater.demo.plan import AgentPlan, Plan
from headwater.demo.record import Event
from headwater.errors import ChangesDropped, Fenced, InDoubt, RetryableError

log = logging.getLogger("headwater.demo.worker")

SABOTAGE = "HEADWATER_TEST_DEMO_SABOTAGE"
"""Only ever set by a test, which wants to see the demo find out: "drop" acknowledges a change that
was never made, "double" makes one twice, "alter" makes a wrong one; for step 2 of every agent."""

_SABOTAGED_STEP = 2
Tell = Callable[[Event], None]


class Auditor:
    """Does one agent's steps, from wherever its state says that they were left."""

    def __init__(
        self, client: Client, plan: AgentPlan, installed: dict[str, str], tell: Tell
    ) -> None:
        self._client = client
        self._plan = plan
        self._installed = installed
        self._tell = tell
        self._sabotage = os.environ.get(SABOTAGE, "")

    def run(self) -> None:
        """Own the agent until its last step is done; errors that may pass are tried again."""
        agent_id = self._plan.agent_id
        while True:
            try:
                with self._client.agent(agent_id, session=audit.SESSION) as agent:
                    self._tell(Event(kind="claimed", agent=agent_id, version=agent.version))
                    self._do_steps(agent)
                break
            except (RetryableError, Fenced) as error:
                log.warning("agent %s is taken again: %s", agent_id, error)
        self._tell(Event(kind="finished", agent=agent_id))

    def _do_steps(self, agent: Session) -> None:
        number = agent.state.step
        while number < len(self._plan.steps):
            step = self._plan.steps[number]
            self._tell(Event(kind="begin", agent=agent.agent_id, step=step.id))
            finding = audit.perform(step, self._installed)
            try:
                self._commit(agent, number, finding)
            except InDoubt as error:
                log.warning("agent %s: %s", agent.agent_id, error)
                _settle(agent)
            except ChangesDropped as error:
                log.warning("agent %s: %s", agent.agent_id, error)
            else:
                number += 1
                self._acknowledged(agent, step.id)
                continue
            # What the log holds decides whether this step is done.
            if agent.state.step > number:
                self._acknowledged(agent, step.id)
            number = agent.state.step

    def _commit(self, agent: Session, number: int, finding: audit.Finding) -> None:
        if self._sabotage and number == _SABOTAGED_STEP:
            log.critical("a step is sabotaged for a test: %s", self._sabotage)
            if self._sabotage == "drop":
                return
            if self._sabotage == "double":
                self._change(agent, number, finding)
            elif self._sabotage == "alter":
                finding = {**finding, "problems": ["sabotaged"]}
        self._change(agent, number, finding)

    def _change(self, agent: Session, number: int, finding: audit.Finding) -> None:
        with agent.change() as state:
            audit.apply(state, self._plan, number, finding)

    def _acknowledged(self, agent: Session, step_id: str) -> None:
        event = Event(kind="ack", agent=agent.agent_id, step=step_id, version=agent.version)
        self._tell(event)


def _settle(agent: Session) -> None:
    try:
        agent.flush()
    except ChangesDropped as error:
        log.warning("agent %s: %s", agent.agent_id, error)


def _report(tell: Tell, failure: threading.ExceptHookArgs) -> None:
    """Say that a thread, which bears its agent's name, has failed."""
    agent_id = failure.thread.name if failure.thread else ""
    log.error("agent %s failed", agent_id, exc_info=failure.exc_value)
    text = f"{failure.exc_type.__name__}: {failure.exc_value}"
    tell(Event(kind="failed", agent=agent_id, text=text))


def main(plan_path: str) -> None:
    """Take agents until standard input ends, and end when their work is done."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    warnings.simplefilter("ignore", SyntaxWarning)  # in the code that is audited
    plan = Plan.read(Path(plan_path))
    plans = {each.agent_id: each for each in plan.agents}
    tell = functools.partial(record.write, sys.stdout.fileno())
    threading.excepthook = functools.partial(_report, tell)
    with connect() as client:
        tell(Event(kind="ready"))
        threads = []
        for line in sys.stdin:
            agent_id = line.strip()
            auditor = Auditor(client, plans[agent_id], plan.installed, tell)
            thread = threading.Thread(target=auditor.run, name=agent_id, daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
