"""Fleets for `recover`: topics with agents as the compactor leaves them, and a tail behind it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.cluster import read_all
from benchmarks.compaction import compacting
from benchmarks.load import BEGIN, Chain, Event, Feeder, Texts, make_chains, set_data
from benchmarks.report import say
from headwater.config import Config
from headwater.log.chain import partition_of
from headwater.log.snapshots import decode_entry
from headwater.state.patch import SET, encode_patch
from headwater.topics import connect_topics

STATE_KEYS = 50
CHANGE_BYTES = 1024
BYSTANDER_BYTES = 200
SUPERSEDED = 10
"""Index entries of an agent that a newer one replaced; as many increments follow its full one."""
TAIL = 5_000
OWN_TAIL = 100
MEASURED_PARTITIONS = (0, 1)
"""Measured agents live here: TAIL / OWN_TAIL of them fill one partition's tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The measured agents, and the hash of each one's head."""

    heads: dict[str, str]

    def params(self) -> dict[str, Any]:
        """For a side in another process."""
        return {"heads": self.heads}


def build_fleet(config: Config, agents: int, measured: int, *, tail: bool) -> Fleet:
    """Topics with ``agents`` agents, ``measured`` of them of 50 KB; events, then the compactor.

    Each has been through a commit with a full snapshot and SUPERSEDED with an increment. With
    ``tail`` the compactor is stopped, and TAIL events follow in each of MEASURED_PARTITIONS.
    """
    started = time.monotonic()
    partitions = connect_topics(config)
    where = MEASURED_PARTITIONS if tail else range(partitions)
    large = make_chains(names_in("agent", partitions, where, measured), partitions, agents)
    names = (f"bystander-{n}" for n in range(agents - measured))
    small = make_chains(names, partitions, agents + 1)
    texts = Texts(agents)
    feeder = Feeder(config, config.topic("events"))
    with compacting(config, commit_s=0.1) as positions:
        for turn in range(1 + SUPERSEDED):
            feeder.send(_turn(turn, large, small, texts))
            positions.wait()
            say(f"{agents:,} agents: {turn + 1} of {1 + SUPERSEDED} changes compacted")
    if tail:
        feeder.send(_tail(large, texts))
    _check(config, {chain.key: chain for chain in large})
    say(f"{agents:,} agents, built in {time.monotonic() - started:.0f} s")
    return Fleet(heads={chain.key.decode(): chain.hash.hex() for chain in large})


def names_in(stem: str, partitions: int, where: Iterable[int], count: int) -> list[str]:
    """Ids whose agents live evenly in the partitions ``where``."""
    left = dict.fromkeys(where, 0)
    share = -(-count // len(left))
    names: list[str] = []
    number = 0
    while len(names) < count:
        name = f"{stem}-{number}"
        number += 1
        partition = partition_of(name.encode(), partitions)
        if left.get(partition, share) < share:
            left[partition] += 1
            names.append(name)
    return names


def _turn(turn: int, large: list[Chain], small: list[Chain], texts: Texts) -> list[Event]:
    if turn == 0:
        return list(_first(large, small, texts))
    return [
        *(_change(chain, turn, texts.take(CHANGE_BYTES)) for chain in large),
        *(_change(chain, turn, texts.take(BYSTANDER_BYTES)) for chain in small),
    ]


def _first(large: list[Chain], small: list[Chain], texts: Texts) -> Iterator[Event]:
    """Claims, and the change that gives each agent its size."""
    for chain, keys, size in (
        *((chain, STATE_KEYS, CHANGE_BYTES) for chain in large),
        *((chain, 1, BYSTANDER_BYTES) for chain in small),
    ):
        yield chain.partition, chain.key, chain.claim()
        data = {f"key-{n}": texts.take(size) for n in range(keys)}
        patch = encode_patch([*BEGIN, (SET, ("data",), data)])
        yield chain.partition, chain.key, chain.change(patch)


def _change(chain: Chain, turn: int, text: str) -> Event:
    patch = set_data(f"key-{turn % STATE_KEYS}", text)
    return chain.partition, chain.key, chain.change(patch)


def _tail(large: list[Chain], texts: Texts) -> list[Event]:
    rng = random.Random(TAIL)
    turns = [chain for chain in large for _ in range(OWN_TAIL)]
    rng.shuffle(turns)
    return [_change(c, rng.randrange(STATE_KEYS), texts.take(CHANGE_BYTES)) for c in turns]


def _check(config: Config, large: dict[bytes, Chain]) -> None:
    """The index as it is to be: each measured agent's entry written SUPERSEDED + 1 times."""
    written = dict.fromkeys(large, 0)
    longest = dict.fromkeys(large, 0)
    for message in read_all(config, config.topic("index"), range(config.partitions or 0)):
        key = message.key() or b""
        if key in large and message.value() is not None:
            written[key] += 1
            longest[key] = len(decode_entry(message.value() or b"").snapshots)
    if min(written.values()) <= SUPERSEDED:
        raise RuntimeError(f"an index entry was superseded {min(written.values()) - 1} times only")
    say(f"chains of {min(longest.values())} to {max(longest.values())} snapshots")
