"""The cache, the throttle, the lag, and the command line's parser."""

from __future__ import annotations

import pytest

from headwater.log.fold import new_agent
from headwater.log.snapshots import Snapshot, full_snapshot
from headwater.state.patch import SET, apply_patch
from streams.snapshots.__main__ import main
from streams.snapshots.cache import SnapshotCache
from streams.snapshots.commit import Counts
from streams.snapshots.lag import Lag
from streams.snapshots.throttle import Throttle
from tests.unit.streams.test_partition import Now


def _snapshot(size: int) -> Snapshot:
    agent = new_agent("a")
    apply_patch(agent.document, [(SET, ["task"], "x" * size)])
    return full_snapshot(agent, events_offset=0, node_id="n", created_at=0)


def test_the_cache_holds_what_was_used_last_within_its_bound() -> None:
    """What was not used for longest goes first; what is unlisted goes at once."""
    cache, snapshot = SnapshotCache(10_000), _snapshot(2000)
    for offset in range(3):
        cache.put(0, offset, snapshot)
    assert cache.get(0, 0) is snapshot
    cache.put(0, 3, snapshot)
    assert [cache.get(0, n) is not None for n in range(4)] == [True, False, True, True]
    assert cache.get(1, 0) is None
    cache.forget(0, 0)
    cache.put(0, 4, snapshot)
    assert [cache.get(0, n) is not None for n in (0, 2, 3, 4)] == [False, True, True, True]
    cache.put(0, 5, _snapshot(50_000))
    assert all(cache.get(0, n) is None for n in range(6))


def test_a_throttle_lets_one_through_and_counts_the_rest() -> None:
    """A log line says how many were held back before it."""
    now = [0.0]
    throttle = Throttle(1.0, lambda: now[0])
    assert [throttle.allow() for _ in range(3)] == [0, None, None]
    now[0] = 1.5
    assert throttle.allow() == 2


def test_a_partition_that_is_behind_and_comes_no_further_is_noticed() -> None:
    """Only after it has been so for a while: its turn may be yet to come."""
    ends = {0: 10, 1: 10, 2: 10}
    lag, pool = Lag(ends.__getitem__), Now()
    lag.look(pool, ends)
    looks = [lag.stalled({0: 5, 1: n // 4, 2: 10}) for n in range(12)]
    assert looks == [[]] * 9 + [[0], [], []]
    lag.forget(0)
    assert lag.ends == {1: 10, 2: 10}


def test_counts_add_up() -> None:
    """All are sums, but the longest chain."""
    counts = Counts(events=2, longest_chain=7)
    counts.add(Counts(events=3, longest_chain=4, merges=1))
    assert (counts.events, counts.longest_chain, counts.merges) == (5, 7, 1)


def test_a_wrong_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m streams.snapshots` says what it takes."""
    monkeypatch.setattr("sys.argv", ["streams.snapshots", "--strategy", "best"])
    with pytest.raises(SystemExit, match="2"):
        main()


def test_without_a_kafka_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong configuration ends it with a message, not a traceback."""
    monkeypatch.setattr("sys.argv", ["streams.snapshots"])
    monkeypatch.setenv("HEADWATER_CONFIG", "/nowhere/headwater.toml")
    assert main() == 1
    assert "cannot read the configuration file" in caplog.text
