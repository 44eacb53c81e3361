"""The smaller parts of a node: kinds, tallies, limits, addresses, neighbours, who goes where."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

import headwater
from headwater.errors import ConfigError
from headwater.node.handover import Peer, choose
from headwater.node.health import Neighbour, parse_address
from headwater.node.hosted import HostedAgent, kind_of, load_kinds
from headwater.node.resources import cpu_limit, groups, memory_limit
from headwater.node.slot import Slot
from headwater.node.tally import Tally, bucket_of


class Writer(HostedAgent):
    deadline = timedelta(seconds=2)
    pause = timedelta(milliseconds=10)
    transitions: ClassVar = {"new": ["working"], "working": ["working", "done"]}

    async def step(self, agent: Any) -> None:
        """Nothing."""


class Reader(HostedAgent):
    kind = "reader-2"

    def step(self, agent: Any) -> None:
        """Nothing."""


class Empty(HostedAgent):
    """Has no step."""


def test_a_kind_is_read_off_its_class() -> None:
    """Name, whether it is async, its times and transitions."""
    writer, reader = kind_of(Writer), kind_of(Reader)
    assert (writer.name, writer.is_async, writer.deadline_s, writer.pause_s) == (
        "Writer", True, 2, 0.01,
    )  # fmt: skip
    assert writer.transitions["working"] == ["working", "done"]
    assert (reader.name, reader.is_async, reader.deadline_s) == ("reader-2", False, 60)


def test_a_class_that_cannot_be_run_is_refused() -> None:
    """Without a step, or with times that cannot be."""
    with pytest.raises(ConfigError, match="no step"):
        kind_of(Empty)
    with pytest.raises(ConfigError, match="deadline"):
        kind_of(type("Bad", (Writer,), {"deadline": timedelta(0)}))


def test_classes_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``module:Class`` names one, ``module`` all that it defines; the current directory counts."""
    (tmp_path / "mine_to_host.py").write_text(
        "from headwater import HostedAgent\n"
        "class A(HostedAgent):\n    def step(self, agent): ...\n"
        "class B(HostedAgent):\n    async def step(self, agent): ...\n"
        "class Other: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert set(load_kinds(["mine_to_host"])) == {"A", "B"}
    assert set(load_kinds(["mine_to_host:B", "mine_to_host:B"])) == {"B"}
    for spec, what in (
        ("no_such_module:A", "cannot import"),
        ("mine_to_host:Other", "no class of agents"),
        ("mine_to_host:C", "no class of agents"),
        ("json", "defines no class"),
    ):
        with pytest.raises(ConfigError, match=what):
            load_kinds([spec])


def test_importing_headwater_does_not_load_what_only_nodes_need() -> None:
    """A client that writes no agents for nodes has neither aiohttp nor psutil."""
    code = (
        "import sys, headwater\nheadwater.HostedAgent, headwater.DONE, headwater.connect\n"
        "print([n for n in ('aiohttp', 'psutil') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert repr(headwater.DONE) == "headwater.DONE"


def test_times_are_counted_in_buckets_of_nine_percent() -> None:
    """floor(8 log2(ms)), for short and long ones alike."""
    assert [bucket_of(ms) for ms in (0.5, 1, 2, 1000)] == [-8, 0, 8, 79]
    assert bucket_of(0) == bucket_of(1e-9)
    tally = Tally()
    for seconds in (0.001, 0.001, 1):
        tally.completed(seconds)
    tally.failed()
    tally.timed_out()
    assert [(b.bucket, b.count) for b in tally.latency()] == [(0, 2), (79, 1)]
    assert (tally.steps, tally.errors, tally.timeouts) == (3, 1, 1)


def test_the_least_limit_counts(tmp_path: Path) -> None:
    """A control group's limit, its own or one above, is what the process may use."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    unbounded, cores = memory_limit(tmp_path), cpu_limit(tmp_path)
    assert unbounded > 1 << 20
    (tmp_path / "memory.max").write_text("1048576\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert memory_limit(tmp_path) == 1 << 20
    assert cpu_limit(tmp_path) == min(cores, 0.5)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("0::/a/b\n", ["a/b", "a", "", "", "memory"]),
        ("5:cpu,cpuacct:/x\n7:memory:/y\n", ["memory/y", "memory", "", "memory"]),
    ],
)
def test_groups_are_found_in_both_layouts(tmp_path: Path, own: str, expected: list[str]) -> None:
    """The process's own group and those above it, of one hierarchy or of one per controller."""
    (tmp_path / "self").write_text(own)
    found = list(groups(tmp_path, "memory", tmp_path / "self"))
    assert found == [tmp_path / each if each else tmp_path for each in expected]


def test_addresses() -> None:
    """host:port, an IPv6 host in brackets; anything else is told."""
    assert parse_address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse_address("[::1]:8080") == ("::1", 8080)
    for bad in ("", "8080", "host:", "host:http", ":80", "host:70000"):
        with pytest.raises(ConfigError):
            parse_address(bad)


def test_a_neighbour_is_unreachable_after_three_failures() -> None:
    """One lost answer says nothing yet."""
    neighbour = Neighbour("n2")
    neighbour.answered(0.002)
    assert neighbour.report().rtt_ms == 2
    neighbour.failed()
    neighbour.failed()
    assert neighbour.report().reachable
    assert neighbour.report().rtt_ms == -1
    neighbour.failed()
    assert not neighbour.report().reachable
    neighbour.answered(0.001)
    assert neighbour.report().reachable


def test_agents_go_where_there_are_fewest() -> None:
    """Loads are evened out among the nodes that run the kind."""
    kinds = frozenset({"Writer"})
    peers = [
        Peer(node_id="full", kinds=kinds, agents=10),
        Peer(node_id="free", kinds=kinds, agents=6),
        Peer(node_id="other", kinds=frozenset({"reader-2"}), agents=0),
    ]
    kind = kind_of(Writer)
    slots = [Slot(f"a{number}", kind) for number in range(8)]
    plan = choose(slots, peers)
    assert sorted(plan.values()).count("free") == 6
    assert sorted(plan.values()).count("full") == 2
    assert choose(slots, []) == {}
