"""The network of the fault tests cuts what it says, one way and both, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.local import LocalKafka
from tests.support.network import (
    BROKERS,
    Namespaces,
    Network,
    Place,
    can_make_namespaces,
    cut_both,
)
from tests.support.processes import ROOT
from tests.support.proxy import Proxies

pytestmark = [pytest.mark.fault, pytest.mark.timeout(90)]


@pytest.fixture(params=["namespaces", "proxies"])
def net(request: pytest.FixtureRequest) -> Iterator[Network]:
    """Each kind of network that can be made here."""
    if request.param == "namespaces" and not can_make_namespaces():
        pytest.skip("network namespaces cannot be made here: that takes root on Linux")
    made: Network = Namespaces() if request.param == "namespaces" else Proxies()
    try:
        yield made
    finally:
        made.close()


class End:
    """One process at an end of a connection."""

    def __init__(self, net: Network, place: Place, what: str, address: str) -> None:
        self._process = subprocess.Popen(
            [*place.prefix, sys.executable, "-m", "tests.support.reach", what, address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        net.settle(place.name, self._process.pid)

    def line(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def exchange(self) -> bool:
        """Whether a line went there and came back."""
        assert self._process.stdin is not None
        self._process.stdin.write("hello\n")
        self._process.stdin.flush()
        return self.line() == "yes"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def ends(net: Network) -> Iterator[list[End]]:
    """Processes that end with the test."""
    ends: list[End] = []
    yield ends
    for end in ends:
        end.close()


def listener(net: Network, ends: list[End], name: str) -> str:
    """A process that listens in a place; where others reach it."""
    place = net.join(name)
    ends.append(End(net, place, "serve", place.listen))
    return place.advertise or ends[-1].line()


def asker(net: Network, ends: list[End], name: str, address: str) -> End:
    """A process that connects from a place."""
    ends.append(End(net, net.join(name), "ask", address))
    return ends[-1]


@pytest.mark.parametrize("cut", [("a", "b"), ("b", "a")])
def test_a_link_is_cut_one_way(net: Network, ends: list[End], cut: tuple[str, str]) -> None:
    """Nothing comes back over a connection that is cut one way, whichever; others go on."""
    address = listener(net, ends, "b")
    asks = asker(net, ends, "a", address)
    assert asks.exchange()
    net.cut(*cut)
    assert not asks.exchange()
    net.mend(*cut)
    other = asker(net, ends, "c", listener(net, ends, "d"))
    assert other.exchange()


def test_a_cut_link_takes_no_new_connection(net: Network, ends: list[End]) -> None:
    """Both ways cut, nobody gets an answer; mended, everybody does."""
    address = listener(net, ends, "b")
    net.join("a")
    cut_both(net, "a", "b")
    assert not asker(net, ends, "a", address).exchange()
    net.mend_all()
    assert asker(net, ends, "a", listener(net, ends, "c")).exchange()


@pytest.mark.kafka
def test_brokers_are_cut_off_one_by_one_and_all(net: Network, ends: list[End]) -> None:
    """A place can lose one broker, or all of them, and another place notices nothing."""
    with LocalKafka(**net.kafka(1)) as kafka:
        net.brokers(kafka)
        assert asks_kafka(net, "a", kafka)
        for broker in ("broker-1", BROKERS):
            net.cut("a", broker)
            assert not asks_kafka(net, "a", kafka)
            assert asks_kafka(net, "b", kafka)
            net.mend_all()
        net.cut(BROKERS, "a")
        assert not asks_kafka(net, "a", kafka)
        net.mend_all()
        assert asks_kafka(net, "a", kafka)


def asks_kafka(net: Network, name: str, kafka: LocalKafka) -> bool:
    """Whether a process in this place gets an answer from the broker."""
    place, (host, _, port) = net.join(name), kafka.bootstrap_servers.rpartition(":")
    code = (
        "import sys; from headwater.local.probe import live_brokers as live;"
        f"sys.stdin.readline(); sys.exit(not live({port}, {host!r}))"
    )
    process = subprocess.Popen(
        [*place.prefix, sys.executable, "-c", code],
        stdin=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    net.settle(name, process.pid)
    process.communicate(b"go\n", 30)
    return process.returncode == 0


def test_nothing_is_left_behind() -> None:
    """A network that was closed has no namespace, link or route any more."""
    if not can_make_namespaces():
        pytest.skip("network namespaces cannot be made here: that takes root on Linux")
    spaces, links = Path("/run/netns"), Path("/sys/class/net")
    before = {*spaces.glob("hwt-*")}, {*links.glob("hwt*")}
    net = Namespaces()
    net.join("a")
    net.cut("a", BROKERS)
    assert len({*spaces.glob("hwt-*")}) == len(before[0]) + 2
    net.close()
    assert ({*spaces.glob("hwt-*")}, {*links.glob("hwt*")}) == before
