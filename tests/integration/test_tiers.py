"""What every storage tier promises, asked of all of them."""

from __future__ import annotations

import multiprocessing
import random
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import (
    ConfigError,
    CorruptData,
    KeyNotFound,
    SchemaTooNew,
    SessionClosed,
    TooLarge,
    Unavailable,
    UnsupportedValue,
)
from headwater.tiers import MAX_VALUE_BYTES, Tier, open_tier
from tests.support.clusters import Kafka, fresh_config
from tests.support.tiers import HOSTILE_KEYS, KEYS, Place, large_value, save_for_ever

# Memory ends with its process: nothing of it can be reopened, or left behind by a kill.
DURABLE = ["file", "sqlite", "postgres", "kafka"]
KINDS = ["memory", *DURABLE]

KILLS = 5
_examples = count()

durable = pytest.mark.parametrize("place", DURABLE, indirect=True)


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where a tier of each kind is."""
    kind = request.param
    if kind == "kafka":
        kafka: Kafka = request.getfixturevalue("headwater_kafka")
        return Place(kind=kind, url="kafka:values", config=fresh_config(kafka))
    folder = tmp_path_factory.mktemp("tier")
    if kind == "postgres":
        return Place(kind=kind, url=request.getfixturevalue("postgres_url"))
    urls = {"memory": "memory:tests", "file": str(folder), "sqlite": f"sqlite:///{folder}/a.db"}
    return Place(kind=kind, url=urls[kind])


@pytest.fixture(scope="module")
def tier(place: Place) -> Iterator[Tier]:
    """A tier that the module's tests share."""
    with place.open() as opened:
        yield opened


@pytest.fixture
def top() -> str:
    """The beginning of a test's own keys."""
    return f"test-{secrets.token_hex(4)}/"


def keys(tier: Tier, prefix: str) -> list[str]:
    """The keys below a prefix, without it."""
    return [entry.key.removeprefix(prefix) for entry in tier.list(prefix)]


@pytest.mark.parametrize("size_bytes", [0, 1, 900_000, 5_000_000, MAX_VALUE_BYTES])
def test_round_trip(tier: Tier, top: str, size_bytes: int) -> None:
    """What was saved is loaded, from nothing at all to the largest value, whatever its bytes."""
    value = random.Random(size_bytes).randbytes(size_bytes)
    tier.save(f"{top}value", value)
    assert tier.load(f"{top}value") == value
    (entry,) = tier.list(top)
    assert (entry.key, entry.size_bytes) == (f"{top}value", size_bytes)
    assert abs((entry.saved_at_ms or 0) / 1000 - time.time()) < 60


def test_the_last_save_counts(tier: Tier, top: str) -> None:
    """A value is replaced by a longer, a shorter, an empty one."""
    for value in (b"first", b"x" * 2_000_000, b"", b"last"):
        tier.save(f"{top}a", value)
        assert tier.load(f"{top}a") == value
    assert keys(tier, top) == ["a"]


def test_deleting(tier: Tier, top: str) -> None:
    """What was deleted is gone; deleting it again, or what never was, does nothing."""
    tier.save(f"{top}a", b"1")
    tier.save(f"{top}b", b"2")
    for _ in range(2):
        tier.delete(f"{top}a")
    assert keys(tier, top) == ["b"]
    with pytest.raises(KeyNotFound, match=f"nothing under '{top}a'"):
        tier.load(f"{top}a")
    tier.save(f"{top}a", b"3")
    assert tier.load(f"{top}a") == b"3"


def test_listing(tier: Tier, top: str) -> None:
    """Keys come in the order of their bytes; a prefix may end anywhere, and may match nothing."""
    names = ["A", "B/c", "a", "a b", "a.b", "a/b", "a/b/c", "a/é", "a_b", "ab", "é", "\U0001f600"]
    for name in reversed(names):
        tier.save(top + name, name.encode())
    assert keys(tier, top) == sorted(names, key=str.encode)
    assert keys(tier, f"{top}a/") == ["b", "b/c", "é"]
    assert [e.key for e in tier.list(f"{top}a")] == [top + n for n in names if n[0] == "a"]
    for nothing in (f"{top}zz", f"{top}a/b/c/d", f"{top}%", f"{top}_", "\0", "\ud800"):
        assert list(tier.list(nothing)) == []


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_hostile_keys(tier: Tier, key: str) -> None:
    """A key that cannot be one is refused by every call that takes one."""
    for call in (tier.load, tier.delete, lambda k: tier.save(k, b"")):
        with pytest.raises(UnsupportedValue, match="key"):
            call(key)


def test_a_value_over_the_limit(tier: Tier, top: str) -> None:
    """A value over 64 MiB is refused whole, and so is one that is not bytes."""
    with pytest.raises(TooLarge, match="67,108,865 bytes"):
        tier.save(f"{top}a", b"x" * (MAX_VALUE_BYTES + 1))
    with pytest.raises(UnsupportedValue, match="bytes, not str"):
        tier.save(f"{top}a", "text")  # type: ignore[arg-type]
    assert keys(tier, top) == []


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["save", "save", "delete", "load", "list"]),
            st.sampled_from(["a", "a/b", "B", "é.value"]) | KEYS.filter(lambda k: len(k) < 100),
            st.binary(max_size=100),
        ),
        max_size=12,
    )
)
def test_any_sequence_of_calls(tier: Tier, calls: list[tuple[str, str, bytes]]) -> None:
    """A tier is a dictionary, whatever is done in whatever order."""
    top = f"example-{next(_examples)}/"
    model: dict[str, bytes] = {}
    for call, key, value in calls:
        if call == "save":
            tier.save(top + key, value)
            model[key] = value
        elif call == "delete":
            tier.delete(top + key)
            model.pop(key, None)
        elif call == "list":
            assert keys(tier, top) == sorted(model)
        elif key in model:
            assert tier.load(top + key) == model[key]
        else:
            with pytest.raises(KeyNotFound):
                tier.load(top + key)
    assert {key: tier.load(top + key) for key in keys(tier, top)} == model


def test_writers_at_once(place: Place, top: str) -> None:
    """Of many saves of one key at once by two connections one counts, whole; others are not
    disturbed.
    """
    with place.open() as one, place.open() as other:

        def save(number: int) -> None:
            tier = (one, other)[number % 2]
            tier.save(f"{top}shared", bytes([number]) * 1_000_000)
            tier.save(f"{top}own/{number:02}", bytes([number]))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(save, range(16)))
        shared = one.load(f"{top}shared")
        assert shared in [bytes([number]) * 1_000_000 for number in range(16)]
        assert other.load(f"{top}shared") == shared
        own = {entry.key: other.load(entry.key) for entry in one.list(f"{top}own/")}
        assert own == {f"{top}own/{n:02}": bytes([n]) for n in range(16)}


def test_readers_meanwhile(place: Place, tier: Tier, top: str) -> None:
    """Whoever loads while a value is replaced gets the old one or the new one, never going back."""
    tier.save(f"{top}a", large_value(0))

    def save_all() -> None:
        for number in range(1, 10):
            tier.save(f"{top}a", large_value(number))

    with place.open() as other, ThreadPoolExecutor(1) as thread:
        saving = thread.submit(save_all)
        seen = []
        while not saving.done():
            value = other.load(f"{top}a")
            seen.append(int.from_bytes(value[:8], "big"))
            assert value == large_value(seen[-1])
        saving.result()
    assert seen == sorted(seen)


def test_another_connection_sees_it_at_once(place: Place, tier: Tier, top: str) -> None:
    """What one connection has saved or deleted, another one that is open already knows."""
    with place.open() as other:
        tier.save(f"{top}a", b"1")
        assert other.load(f"{top}a") == b"1"
        other.save(f"{top}a", b"2")
        assert tier.load(f"{top}a") == b"2"
        other.delete(f"{top}a")
        assert keys(tier, top) == []


def test_a_closed_tier(place: Place) -> None:
    """Nothing can be done with a tier that was closed, but closing it again."""
    tier = place.open()
    tier.close()
    tier.close()
    for call in (lambda: tier.save("a", b""), lambda: tier.load("a"), lambda: list(tier.list())):
        with pytest.raises(SessionClosed, match="was closed"):
            call()


@durable
def test_reopening(place: Place, top: str) -> None:
    """What was saved is there after everything was closed, for whoever opens it."""
    with place.open() as tier:
        tier.save(f"{top}a", b"kept")
        tier.save(f"{top}b", b"gone")
        tier.delete(f"{top}b")
    with place.open() as tier:
        assert tier.load(f"{top}a") == b"kept"
        assert keys(tier, top) == ["a"]


@pytest.mark.parametrize("at", [0, 4, 5, 12, 13, 44, 45, 500_000, -1])
def test_a_flipped_bit(place: Place, tier: Tier, top: str, at: int) -> None:
    """One bit that changes where the value lies, in its envelope or in itself, is corruption."""
    tier.save(f"{top}a", bytes(1_000_000))
    stored = bytearray(place.raw(f"{top}a"))
    stored[at] ^= 0x80 if at == 4 else 1
    place.overwrite(f"{top}a", bytes(stored))
    with pytest.raises((CorruptData, SchemaTooNew) if at == 4 else CorruptData, match="stored"):
        tier.load(f"{top}a")
    tier.save(f"{top}a", b"sound again")
    assert tier.load(f"{top}a") == b"sound again"


@pytest.mark.parametrize("kept", [0, 10, 45, 999_999])
def test_a_truncated_value(place: Place, tier: Tier, top: str, kept: int) -> None:
    """A value of which only the beginning is there, or that has more behind it, is corrupt."""
    tier.save(f"{top}a", bytes(1_000_000))
    stored = place.raw(f"{top}a")
    for other in (stored[:kept], stored + bytes(kept + 1)):
        place.overwrite(f"{top}a", other)
        with pytest.raises(CorruptData, match="corrupt"):
            tier.load(f"{top}a")
    assert keys(tier, top) == ["a"]


def test_a_value_under_another_key(place: Place, tier: Tier, top: str) -> None:
    """A sound value that turns up where another one was is corruption, too."""
    for name in "ab":
        tier.save(top + name, name.encode())
    place.overwrite(f"{top}a", place.raw(f"{top}b"))
    with pytest.raises(CorruptData, match="not those that were saved"):
        tier.load(f"{top}a")


@durable
def test_killed_in_the_middle_of_a_save(place: Place, top: str) -> None:
    """After each of several kills the last acknowledged value is there, or the one that was being
    saved; never half of one.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([save_for_ever.__module__])
    rng = random.Random(place.kind)
    key = f"{top}value"
    acknowledged = -1
    for _ in range(KILLS):
        ours, theirs = forks.Pipe(duplex=False)
        arguments = (place.url, place.config, key, theirs, acknowledged + 1)
        process = forks.Process(target=save_for_ever, args=arguments, daemon=True)
        process.start()
        theirs.close()
        assert ours.poll(30), "nothing was saved"
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.join()
        while True:
            try:
                acknowledged = ours.recv()
            except EOFError:
                break
        # A new connection, as after a crash; the value in flight may have made it.
        with open_tier(place.url, place.config) as tier:
            value = tier.load(key)
            assert value in (large_value(acknowledged), large_value(acknowledged + 1))
            assert keys(tier, top) == ["value"]
        acknowledged = int.from_bytes(value[:8], "big")


def test_postgres_refuses(postgres_url: str) -> None:
    """A wrong password and a missing database are configuration errors, which name no password."""
    for wrong in (
        postgres_url.replace("@", "hidden@"),
        postgres_url.replace("/postgres", "/nothing"),
    ):
        with pytest.raises(ConfigError, match="check the address, the credentials") as raised:
            open_tier(wrong)
        assert "hidden" not in str(raised.value)
    with pytest.raises(Unavailable, match="refused"):
        open_tier("postgresql://user:hidden@127.0.0.1:1/postgres")
