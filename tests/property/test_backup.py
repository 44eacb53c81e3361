"""Whatever is killed whenever, a backup holds everything once, and gives everything back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backup.format import SNAPSHOTS
from headwater.backup.names import Manifest
from headwater.backup.prove import Proved, prove
from headwater.log.resolve import resolver
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import decode_entry
from headwater.state.model import state_hash
from tests.support.backup import EVENTS_START, HOLE, Bench
from tests.support.compaction import Author, check_entry, check_previous, folded
from tests.support.rig import Rig

DEEDS = st.sampled_from(["say"] * 6 + ["large", "delete", "commit", "commit", "copy", "kill"])


@given(st.lists(st.tuples(DEEDS, st.integers(0, 2)), min_size=20, max_size=80))
@settings(max_examples=120)
def test_any_history_is_backed_up_and_given_back(deeds: list[tuple[str, int]]) -> None:
    """Changes, commits, copies and kills in any order: nothing is missing, nothing comes twice,
    all is proved from the backup alone, and a rebuilt cluster has the same heads and states.
    """
    rig = Rig(limit=900_000)
    bench = Bench(rig)
    authors = [Author(name) for name in ("a", "b", "c")]
    for number, (deed, who) in enumerate(deeds):
        author = authors[who]
        if deed == "commit":
            rig.commit()
        elif deed in ("copy", "kill"):
            bench.copy(who if deed == "kill" else None)
        elif not author.epoch or deed == "delete":
            gone = [author.raw("DELETE")] if author.epoch else []
            rig.take(*[(author.key, v) for v in (*gone, author.claim())])
        else:
            text = str(number) * (900 if deed == "large" else 20)
            rig.take((author.key, author.say(text)))
    rig.commit()
    bench.copy()
    _check_once(bench)
    _check_proved(bench)
    _check_rebuilt(bench)


def _check_once(bench: Bench) -> None:
    found = [
        item.offset
        for name in bench.archive.chain(0)
        for item in bench.archive.read(name).items
        if item.topic == SNAPSHOTS
    ]
    assert found == sorted(set(found))
    newest = {key: offset for offset, (key, _) in sorted(bench.rig.store.snapshots.items())}
    assert set(newest.values()) <= set(found) <= bench.rig.store.snapshots.keys()


def _check_proved(bench: Bench) -> None:
    bench.archive.begin(Manifest(partitions=1, prefix="", cluster_id="", created_at=0))
    truth = folded(bench.rig.store.events, len(bench.rig.store.events))
    found = {}
    for each in prove(bench.archive):
        assert isinstance(each, Proved)
        assert each.problem is None
        found[each.agent_id] = each.hash, each.state_hash
    assert found == {
        name: (agent.head.hash, state_hash(name, agent.document)) for name, agent in truth.items()
    }


def _check_rebuilt(bench: Bench) -> None:
    part, snapshots, index = bench.rebuilt()

    def fetch(partition: int, offset: int) -> bytes | None:
        assert offset != HOLE or offset not in snapshots
        return snapshots.get(offset)

    truth = folded(bench.rig.store.events, len(bench.rig.store.events), resolver(fetch))
    assert index.keys() == {name.encode() for name in truth}
    for key, value in index.items():
        check_entry(decode_entry(value), truth[key.decode()], fetch)
        check_previous(decode_entry(value), fetch)
    relocation = bench.relocation(part)
    for value in snapshots.values():
        assert decode_snapshot(value, lambda at: fetch(0, at)).events_offset == EVENTS_START
    for _, value in bench.rig.store.snapshots.values():
        assert relocation.snapshot(value) == relocation.snapshot_slowly(value)
