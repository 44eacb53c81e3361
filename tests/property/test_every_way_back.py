"""Whatever an agent's state is, every way of keeping it gives it back, types included."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.backup.format import SNAPSHOTS, Kept, encode_segment, open_segment
from headwater.backup.names import Offsets
from headwater.log.checkpoints import mark
from headwater.log.exports import CODECS, decode_export, encode_export
from headwater.log.fold import Agent, genesis
from headwater.log.sealing import CHUNK_BYTES, decode_snapshot, seal
from headwater.log.snapshots import full_snapshot, start_agent
from headwater.state.diff import diff
from headwater.state.model import Document, new_document, state_hash
from headwater.state.patch import apply_patch, decode_patch, encode_patch
from headwater.state.pieces import in_pieces
from headwater.state.values import copy_value, same
from headwater.tiers import open_tier
from tests.property.strategies import documents, patient

KEPT = mark(genesis("a"), "kept", "manual")


def is_back(found: Document, document: Document) -> bool:
    """Every value, with its type; and so the hash."""
    return same(found, document) and state_hash("a", found) == state_hash("a", document)


@patient
@given(documents, st.sampled_from(CODECS))
def test_exports(document: Document, codec: str) -> None:
    """A checkpoint as a file, by each codec."""
    checkpoint, found = decode_export(encode_export(KEPT, document, codec))
    assert checkpoint == KEPT
    assert is_back(found, document)


@patient
@given(documents, st.sampled_from([0, 1 << 30]), st.sampled_from([7, 200, CHUNK_BYTES]))
def test_snapshots_in_one_record_or_many(
    document: Document, compress_bytes: int, chunk_bytes: int
) -> None:
    """Compressed or not, whole or in chunks; and through a segment of a backup."""
    agent = Agent(genesis("a"), document)
    full = full_snapshot(agent, events_offset=0, node_id="n", created_at=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.log.sealing.CHUNK_BYTES", chunk_bytes)
        sealed = seal(full, compress_bytes=compress_bytes)
    values = [value for _, value in sealed.chunks]
    value = sealed.value(range(len(values)))
    records = [
        Kept(SNAPSHOTS, offset, 0, b"k", each) for offset, each in enumerate([*values, value])
    ]
    segment = encode_segment(0, Offsets(0, 0, 0), Offsets(0, len(records), 0), records)
    back = [record.value or b"" for record in open_segment(segment).records()]
    assert decode_snapshot(back[-1], back.__getitem__) == full
    found = start_agent(decode_snapshot(back[-1], back.__getitem__))
    assert is_back(found.document, document)


@patient
@given(documents, documents)
def test_restores(now: Document, then: Document) -> None:
    """The event of a restore leads to the very state of before; and so do its pieces."""
    found = copy_value(now)
    apply_patch(found, decode_patch(encode_patch(diff(now, then))))
    assert is_back(found, then)
    found = new_document()
    for piece in in_pieces(then, 1 << 20):
        apply_patch(found, decode_patch(piece))
    assert is_back(found, then)


@pytest.mark.parametrize("kind", ["memory", "file", "database"])
def test_tiers(kind: str, tmp_path: Path) -> None:
    """Through a tier, and out of it again."""
    url = {
        "memory": "memory:",
        "file": str(tmp_path / "files"),
        "database": f"sqlite:///{tmp_path / 'values.db'}",
    }[kind]
    with open_tier(url) as tier:

        @patient
        @given(documents, st.sampled_from(CODECS))
        def check(document: Document, codec: str) -> None:
            tier.save("checkpoints/a", encode_export(KEPT, document, codec))
            assert is_back(decode_export(tier.load("checkpoints/a"))[1], document)

        check()
