"""StateChange records: the quick encoder, and what parsing refuses."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError, SchemaTooNew, UndecodableRecord
from headwater.log.records import FOLD_VERSION, Encoder, check_agent_id, parse
from headwater.wire import codec

SESSION = {
    "agent_id": "a-1",
    "epoch": 7,
    "nonce": b"n" * 16,
    "session_id": "s",
    "request_id": None,
    "node_id": "node",
    "incarnation": b"i" * 16,
    "lease_ms": 3000,
}


def record(**fields: object) -> dict[str, object]:
    return {
        **SESSION,
        "fold": FOLD_VERSION,
        "kind": "CHANGE",
        "prev": bytes(32),
        "sequence": 1,
        "patch": b"",
        "created_at": 0,
        **fields,
    }


@given(
    kind=st.sampled_from(["CHANGE", "RELEASE", "DELETE", "RESTORE", "CHECKPOINT"]),
    prev=st.binary(min_size=32, max_size=32),
    sequence=st.integers(0, 2**62),
    patch=st.binary(max_size=300),
    created_at=st.integers(0, 2**62),
    nonce=st.none() | st.binary(min_size=16, max_size=16),
    request_id=st.none() | st.text(max_size=20),
)
def test_the_quick_encoder_writes_what_fastavro_writes(
    kind: str,
    prev: bytes,
    sequence: int,
    patch: bytes,
    created_at: int,
    nonce: bytes | None,
    request_id: str | None,
) -> None:
    """Concatenating pre-encoded constants gives fastavro's own bytes."""
    session = {**SESSION, "nonce": nonce, "request_id": request_id}
    quick = Encoder(**session).record(kind, prev, sequence, patch, created_at)  # type: ignore[arg-type]
    whole = record(
        nonce=nonce,
        request_id=request_id,
        kind=kind,
        prev=prev,
        sequence=sequence,
        patch=patch,
        created_at=created_at,
    )
    assert quick == codec("StateChange").encode(whole)


def test_a_claim_is_parsed_as_written() -> None:
    """A claim has a nonce, no prev, and the session's fields."""
    change = parse(b"a-1", Encoder(**SESSION).claim(5))  # type: ignore[arg-type]
    assert (change.kind, change.prev, change.nonce, change.epoch) == ("CLAIM", None, b"n" * 16, 7)
    assert len(change.digest) == 32


def test_a_newer_schema_is_told_from_rubbish() -> None:
    """An unknown fingerprint may hold acknowledged changes; bytes without the marker cannot."""
    with pytest.raises(SchemaTooNew):
        parse(b"a", b"\xc3\x01" + os.urandom(8) + b"body")
    with pytest.raises(UndecodableRecord):
        parse(b"a", b"hello")
    with pytest.raises(UndecodableRecord):
        parse(b"a", None)


def test_a_newer_fold_is_not_folded() -> None:
    """A record for a newer fold version stops the reader, whatever its schema."""
    with pytest.raises(SchemaTooNew, match="fold version"):
        parse(b"a-1", codec("StateChange").encode(record(fold=FOLD_VERSION + 1)))


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (b"other", {}),
        (b"a-1", {"prev": None}),
        (b"a-1", {"kind": "CLAIM"}),
        (b"a-1", {"kind": "CLAIM", "prev": None, "nonce": None}),
        (b"!a", {"agent_id": "!a"}),
    ],
)
def test_impossible_records_are_refused(key: bytes, fields: dict[str, object]) -> None:
    """A record whose parts contradict each other belongs in dead-letters."""
    with pytest.raises(UndecodableRecord):
        parse(key, codec("StateChange").encode(record(**fields)))


@pytest.mark.parametrize("cut", [9, 20, 60, -1])
def test_truncated_records_are_refused(cut: int) -> None:
    """A record cut anywhere is undecodable, never misread."""
    value = codec("StateChange").encode(record(patch=b"x" * 50))
    with pytest.raises(UndecodableRecord):
        parse(b"a-1", value[:cut])


@pytest.mark.parametrize("agent_id", ["", "!x", "x" * 600, "\ud800", 7])
def test_agent_ids_that_cannot_be(agent_id: str) -> None:
    """Ids are non-empty, not Headwater's own, not too long, valid Unicode."""
    with pytest.raises(ConfigError):
        check_agent_id(agent_id)
