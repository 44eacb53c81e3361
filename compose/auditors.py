"""The agents of the containers' demo: they audit the Python distributions of their image.

The work is that of ``headwater demo``, a step at a time, driven by nodes. Every container has the
same image, so each knows the whole plan, and what the states must be in the end.
"""

from __future__ import annotations

import functools
import os
import warnings
from datetime import timedelta

import msgspec

from headwater import DONE, HostedAgent, Session
from headwater.demo import audit
from headwater.demo.plan import AgentPlan, Plan, installed_packages, make_plan
from headwater.demo.verdict import hash_of

warnings.simplefilter("ignore", SyntaxWarning)  # in the code that is audited


@functools.cache
def the_plan() -> Plan:
    """What ``DEMO_AGENTS`` agents do in about ``DEMO_STEPS`` steps each."""
    agents, steps = (int(os.environ.get(f"DEMO_{n}", d)) for n, d in (("AGENTS", 6), ("STEPS", 60)))
    return make_plan(installed_packages(), agents, steps)


def agent_ids(round_: str) -> list[str]:
    """The agents of a round, such as ``first.auditor-1``."""
    return [f"{round_}.{plan.agent_id}" for plan in the_plan().agents]


def plan_of(agent_id: str) -> AgentPlan:
    """What an agent does."""
    name = agent_id.rpartition(".")[2]
    (plan,) = (each for each in the_plan().agents if each.agent_id == name)
    return msgspec.structs.replace(plan, agent_id=agent_id)


def wanted_hash(agent_id: str) -> bytes:
    """SHA-256 of the state that an agent ends with if nobody ever disturbs it."""
    return hash_of(audit.uninterrupted(plan_of(agent_id), the_plan().installed))


class Auditor(HostedAgent):
    """Does the next step of its plan, from wherever its state says that it was left."""

    deadline = timedelta(seconds=30)
    pause = timedelta(milliseconds=int(os.environ.get("DEMO_PAUSE_MS", "100")))

    def step(self, agent: Session) -> object:
        """Look at a part of a distribution, and note what was found."""
        plan, number = plan_of(agent.agent_id), agent.state.step
        if number < len(plan.steps):
            finding = audit.perform(plan.steps[number], the_plan().installed)
            with agent.change() as state:
                state.session_id = audit.SESSION
                audit.apply(state, plan, number, finding)
        return DONE if number + 1 >= len(plan.steps) else None
