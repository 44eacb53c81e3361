"""A network whose links can be cut, one way or both: between nodes, and between nodes and brokers.

As root on Linux it is made of network namespaces: one for each place, and a router between them,
where a cut is a rule that drops what goes from one address to another, silently, as a broken link
does. Elsewhere a TCP proxy stands in front of every listener (:mod:`tests.support.proxy`), knows by
the operating system's tables whose connection each one is, and holds back what a cut link would.

``HEADWATER_TEST_NETWORK=proxy`` takes the proxy where there is a choice.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from headwater.local import LocalKafka

BROKERS = "brokers"
"""The place of all brokers together; each one's is ``broker-1`` and so on."""

_NAME = re.compile(r"hwt-(\d+)-")
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process runs: what to put before its command, and where it may listen.

    ``advertise`` is where others reach what listens on ``listen``; empty: there.
    """

    name: str
    listen: str
    prefix: tuple[str, ...] = ()
    advertise: str = ""


class Network(Protocol):
    """Places, and the links between them. A cut is named by who sends and who does not hear it."""

    def kafka(self, brokers: int = 3) -> dict[str, Any]:
        """Arguments of :class:`LocalKafka` with which the brokers are reached from every place."""
        ...

    def brokers(self, kafka: LocalKafka) -> None:
        """Name the brokers' places, once they run."""
        ...

    def join(self, name: str) -> Place:
        """A place for a process; the same one for the same name."""
        ...

    def settle(self, name: str, pid: int) -> None:
        """A process runs in a place now."""
        ...

    def cut(self, source: str, target: str) -> None:
        """From now on nothing that ``source`` sends reaches ``target``."""
        ...

    def mend(self, source: str, target: str) -> None:
        """Take a cut back; none, where there is none."""
        ...

    def mend_all(self) -> None:
        """Take all cuts back."""
        ...

    def close(self) -> None:
        """Remove all that was made."""
        ...


def cut_both(network: Network, one: str, other: str) -> None:
    """Cut a link both ways."""
    network.cut(one, other)
    network.cut(other, one)


def can_make_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    if not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip")):
        return False
    name = f"hwt-{os.getpid()}-probe"
    if _ip("netns", "add", name, check=False):
        return False
    _ip("netns", "del", name, check=False)
    return True


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """The best network that can be made here; nothing of it is left behind the block."""
    if os.environ.get("HEADWATER_TEST_NETWORK") != "proxy" and can_make_namespaces():
        made: Network = Namespaces()
    else:
        from tests.support.proxy import Proxies

        made = Proxies()
    try:
        yield made
    finally:
        made.close()


def _ip(*words: str, check: bool = True) -> int:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert not (check and done.returncode), f"ip {' '.join(words)}: {done.stderr.strip()}"
    return done.returncode


def sweep() -> None:
    """Remove namespaces of test runs that were killed before they could."""
    for path in Path("/run/netns").glob("hwt-*"):
        found = _NAME.match(path.name)
        if found and not psutil.pid_exists(int(found[1])):
            _ip("netns", "del", path.name, check=False)


class Namespaces:
    """The network of namespaces: brokers in the machine's own, all else in one for each place."""

    def __init__(self) -> None:
        sweep()
        self._id = f"{os.getpid()}-{secrets.token_hex(2)}"
        self._router = f"hwt-{self._id}-router"
        self._link = f"hwt{secrets.token_hex(4)}"
        self._spaces: list[str] = []
        self._places: dict[str, Place] = {}
        # By name, the address, and the port where that tells it from others at the address.
        self._ends: dict[str, tuple[str, int | None]] = {}
        self._cuts: dict[tuple[str, str], list[str]] = {}
        try:
            self._make_router()
        except BaseException:
            self.close()
            raise

    def _make_router(self) -> None:
        self._add(self._router)
        link = self._link
        _ip("link", "add", link, "type", "veth", "peer", "name", "out", "netns", self._router)
        for _ in range(_ATTEMPTS):
            # A block that nothing else on this machine leads to; another test run may have one.
            self._net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
            route = ("route", "add", f"{self._net}.0/24", "dev", link, "onlink")
            _ip("link", "set", link, "up")
            _ip("addr", "add", f"{self._net}.1/32", "dev", link)
            if not _ip(*route, "via", f"{self._net}.254", "src", f"{self._net}.1", check=False):
                break
            _ip("addr", "del", f"{self._net}.1/32", "dev", link)
        inside = ("-n", self._router)
        _ip(*inside, "link", "set", "out", "up")
        _ip(*inside, "addr", "add", f"{self._net}.254/32", "dev", "lo")
        _ip(*inside, "route", "add", f"{self._net}.1/32", "dev", "out")
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        _ip("netns", "exec", self._router, "sh", "-c", forward)
        self._ends[BROKERS] = (f"{self._net}.1", None)

    def _add(self, space: str) -> None:
        self._spaces.append(space)
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")

    def kafka(self, brokers: int = 3) -> dict[str, Any]:
        """They listen where the router leads to."""
        return {"brokers": brokers, "host": f"{self._net}.1"}

    def brokers(self, kafka: LocalKafka) -> None:
        """They are told apart by their ports."""
        for node in kafka.status.nodes:
            self._ends[f"broker-{node.id}"] = (f"{self._net}.1", node.port)

    def join(self, name: str) -> Place:
        """A namespace with an address of its own."""
        if name in self._places:
            return self._places[name]
        number = len(self._places) + 2
        space, address = f"hwt-{self._id}-{number}", f"{self._net}.{number}"
        link = f"p{number}"
        self._add(space)
        _ip("-n", space, "link", "add", "eth", "type", "veth", "peer", "name", link,
            "netns", self._router)  # fmt: skip
        _ip("-n", space, "addr", "add", f"{address}/32", "dev", "eth")
        _ip("-n", space, "link", "set", "eth", "up")
        _ip("-n", self._router, "link", "set", link, "up")
        _ip("-n", self._router, "route", "add", f"{address}/32", "dev", link)
        _ip("-n", space, "route", "add", "default", "via", f"{self._net}.254", "dev", "eth",
            "onlink", "src", address)  # fmt: skip
        self._ends[name] = (address, None)
        prefix = ("ip", "netns", "exec", space)
        self._places[name] = Place(name=name, listen=f"{address}:0", prefix=prefix)
        return self._places[name]

    def settle(self, name: str, pid: int) -> None:
        """Its namespace says where it is."""

    def cut(self, source: str, target: str) -> None:
        """A rule of the router drops it."""
        if (source, target) in self._cuts:
            return
        (from_, sport), (to, dport) = self._ends[source], self._ends[target]
        rule = ["pref", str(len(self._cuts) + 10), "from", from_, "to", to]
        rule += _ports(sport, dport)
        _ip("-n", self._router, "rule", "add", *rule, "blackhole")
        self._cuts[source, target] = rule

    def mend(self, source: str, target: str) -> None:
        """The rule goes."""
        if rule := self._cuts.pop((source, target), None):
            _ip("-n", self._router, "rule", "del", *rule, "blackhole")

    def mend_all(self) -> None:
        """All rules go."""
        for source, target in list(self._cuts):
            self.mend(source, target)

    def close(self) -> None:
        """Namespaces take their links and routes with them, and what still runs inside lives on
        without a network.
        """
        # They would take this one, too, but some time later.
        _ip("link", "del", self._link, check=False)
        for space in reversed(self._spaces):
            _ip("netns", "del", space, check=False)


def _ports(sport: int | None, dport: int | None) -> Sequence[str]:
    if sport is None and dport is None:
        return ()
    words = ["ipproto", "tcp"]
    words += ["sport", str(sport)] if sport is not None else []
    return words + (["dport", str(dport)] if dport is not None else [])
