"""What a commit tells about itself."""

from __future__ import annotations

from headwater.state.patch import SET
from headwater.wire import codec
from tests.support.compaction import Author, Failure
from tests.support.rig import Rig


def test_a_commit_counts_what_it_took_in() -> None:
    """Records, refused ones and dead letters; agents and their changes of status; bytes."""
    rig, a, b = Rig(), Author("a"), Author("b")
    first, second = a.claim(), a.change((SET, ["status"], "reading"))
    rig.take((a.key, first), (a.key, second), (a.key, second), (b.key, b.claim()), (a.key, b"no"))
    rig.take((a.key, a.say("status")), (a.key, a.change((SET, ["data", "status"], "none of ours"))))
    counts = rig.commit()
    (value,) = rig.store.commits
    record = codec("CompactorCommit").decode(value)
    assert (record["start"], record["next_offset"], record["events"]) == (0, 7, 7)
    assert (record["refused"], record["dead_letters"], record["agents"]) == (1, 1, 2)
    assert record["written_bytes"] == counts.snapshot_bytes + counts.index_bytes
    assert record["event_bytes"] > len(first) + len(second)
    assert record["took_ms"] >= 0 and record["node_id"] == "compactor-1"
    # Only that of the state itself counts; `say` sets it too, so that the state is valid.
    assert record["status_changes"] == 2


def test_an_aborted_commit_and_its_successor_have_the_same_start() -> None:
    """So a reader who sees both knows which one counts."""
    rig, a = Rig(), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.take((a.key, a.say("2")))
    rig.store.fail_at = "commit"
    try:
        rig.commit()
    except Failure:
        rig.restart()
    rig.take((a.key, a.say("3")))
    rig.commit()
    assert [codec("CompactorCommit").decode(v)["start"] for v in rig.store.commits] == [0, 2]
    assert [codec("CompactorCommit").decode(v)["events"] for v in rig.store.commits] == [2, 2]
