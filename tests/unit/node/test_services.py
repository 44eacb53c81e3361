"""The node's own threads: those that fail are begun again, and those that die say so."""

from __future__ import annotations

import threading

import pytest

from headwater.errors import Unavailable
from headwater.node.chores import Chores
from headwater.node.services import Services
from tests.support.processes import eventually


def test_a_thread_that_an_error_ends_is_begun_again() -> None:
    """The brokers may be away for a while."""
    runs: list[int] = []
    services = Services(lambda name, fault: pytest.fail(f"{name}: {fault}"))

    def run(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) < 2:
            raise Unavailable("no answer")
        stop.wait()

    services.start("reader", run)
    eventually(lambda: len(runs) == 2, 10, "it runs again")
    services.stop()


@pytest.mark.parametrize("fault", [KeyError("x"), SystemExit(1)])
def test_a_thread_that_dies_says_so(fault: BaseException) -> None:
    """Nothing that a node has to do ends in silence."""
    told: list[tuple[str, BaseException]] = []
    services = Services(lambda name, died: told.append((name, died)))

    def run(stop: threading.Event) -> None:
        raise fault

    services.start("control", run)
    eventually(lambda: bool(told), 10, "it is told")
    assert told == [("control", fault)]
    services.stop()


def test_chores_are_tried_again_and_hurt_nobody() -> None:
    """A release that the brokers did not take is made again; a fault is not, and is logged."""
    chores = Chores(2)
    tries: list[str] = []

    def flaky() -> None:
        tries.append("flaky")
        if len(tries) < 3:
            raise Unavailable("no answer")

    def broken() -> None:
        tries.append("broken")
        raise KeyError("x")

    chores.do(broken)
    chores.do(flaky)
    eventually(lambda: tries.count("flaky") >= 2, 10, "it is done again")
    assert tries.count("broken") == 1
    assert chores.idle(10)
    done: list[int] = []
    assert chores.do_all([lambda n=n: done.append(n) for n in range(50)], 10)  # type: ignore[misc]
    assert sorted(done) == list(range(50))
    chores.stop()


def test_chores_that_hang_are_not_waited_for_longer() -> None:
    """Whoever waits for several has a time limit."""
    chores, gate = Chores(1), threading.Event()
    assert not chores.do_all([lambda: gate.wait(30)], 0.1)
    gate.set()
    chores.stop()
