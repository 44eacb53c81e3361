"""The containers of compose.yaml: they do the main job, whichever of them is killed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.containers import Fleet, engine, fleet, services, until

pytestmark = [pytest.mark.long, pytest.mark.fault, pytest.mark.timeout(2400)]

BROKERS = [name for name in services() if name.startswith("kafka")]
OTHERS = [name for name in services() if name not in (*BROKERS, "demo")]


@pytest.fixture(scope="module")
def containers() -> Iterator[Fleet]:
    """All services but the demo, well."""
    with fleet(engine()) as made:
        for group in (BROKERS, OTHERS):
            for name in group:
                made.start(name)
            for name in group:
                await_well(made, name)
        yield made


def await_well(made: Fleet, name: str) -> None:
    """Wait until a container's health check succeeds."""
    until(lambda: made.is_well(name), 180, lambda: f"{name} is well\n{made.said(name)[-3000:]}")


def begin(made: Fleet, round_: str) -> str:
    """Start a round of the demo, and wait until agents are at work; its container's name."""
    name = f"demo-{round_}"
    made.start("demo", name=name, arguments=(round_,))
    until(lambda: "node-" in made.said(name), 180, lambda: f"work begins\n{made.said(name)}")
    return name


def judged(made: Fleet, name: str) -> dict[str, Any]:
    """What the demo says at its end."""
    until(lambda: made.ended(name) is not None, 180, lambda: f"an end\n{made.said(name)[-3000:]}")
    assert made.ended(name) == 0, made.said(name)
    result: dict[str, Any] = json.loads(made.said(name).splitlines()[-1])
    return result


def test_the_main_job(containers: Fleet) -> None:
    """Agents audit the image, on three nodes; every step is done once, and metrics are there."""
    result = judged(containers, begin(containers, "first"))
    assert result["problems"] == [] and result["steps"] > 100
    until(lambda: "fleet|steps|" in metrics(containers), 60, lambda: "metrics come")


def metrics(made: Fleet) -> str:
    """The keys of the metrics that were published."""
    code = (
        "from headwater import Config; from headwater.fleet.feed import Feed;"
        "print(*{m.key() for m in Feed(Config.load(), 'metrics').read_all()})"
    )
    return made.run("node-1", "python", "-c", code)[1]


def test_the_image(containers: Fleet) -> None:
    """Nobody is root in it, and it brings no tools to install more."""
    assert containers.run("node-1", "id", "-u") == (0, "10001\n")
    assert containers.run("node-1", "python", "-m", "pip", "--version")[0] != 0


@pytest.mark.parametrize("victim", [*BROKERS, *OTHERS])
def test_one_is_killed(containers: Fleet, victim: str) -> None:
    """The work is finished without it."""
    name = begin(containers, f"without-{victim}")
    containers.kill(victim)
    assert judged(containers, name)["problems"] == []
    assert containers.ended(victim) is not None, "it was there all the time"
    containers.again(victim)
    await_well(containers, victim)


def test_the_demo_is_killed(containers: Fleet) -> None:
    """The agents go on, and another demo judges what came of them."""
    name = begin(containers, "unwatched")
    containers.kill(name)
    containers.start("demo", name="demo-again", arguments=("unwatched",))
    assert judged(containers, "demo-again")["problems"] == []
