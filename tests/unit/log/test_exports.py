"""The file of a checkpoint: whole, or refused."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.compression import Codec, compress
from headwater.errors import CorruptData, DecompressionBomb, InvalidState, SchemaTooNew
from headwater.log.checkpoints import Checkpoint, encode_checkpoint, mark
from headwater.log.exports import CODECS, decode_export, encode_export
from headwater.log.fold import Agent, genesis
from headwater.log.sealing import Sealed
from headwater.log.snapshots import full_snapshot
from headwater.state.model import new_document, state_hash
from headwater.state.values import same
from tests.property.strategies import documents


def checkpoint(document: dict[str, Any]) -> Checkpoint:
    """One of a document's."""
    head = msgspec.structs.replace(genesis("a"), version=7, sequence=9, session_id="s")
    return mark(head, "manual-7-x", "manual", label="l", state_hash=state_hash("a", document))


DOCUMENT = new_document() | {"session_id": "s", "data": {"k": os.urandom(300), "t": (1, {2})}}


@given(codec=st.sampled_from(CODECS), document=documents)
def test_whatever_the_state_it_comes_back(codec: str, document: dict[str, Any]) -> None:
    """With the checkpoint itself, by each codec."""
    made = checkpoint(document)
    found, state = decode_export(encode_export(made, document, codec))
    assert found == made
    assert same(state, document)


def test_a_state_that_is_not_the_checkpoints_is_not_exported() -> None:
    """What would be refused on import is not written."""
    with pytest.raises(CorruptData, match="not that of the checkpoint"):
        encode_export(checkpoint(DOCUMENT), new_document())


@pytest.mark.parametrize("codec", CODECS)
def test_no_truncation_goes_unnoticed(codec: str) -> None:
    """Cut off anywhere, it is refused with a typed error that says so."""
    data = encode_export(checkpoint(DOCUMENT), DOCUMENT, codec)
    for end in range(len(data)):
        with pytest.raises(CorruptData):
            decode_export(data[:end])
    with pytest.raises(CorruptData):
        decode_export(data + b"\0")


@pytest.mark.parametrize("codec", CODECS)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(codec: str, place: int, bit: int) -> None:
    """Whichever it is; one in the format's number looks like a newer format."""
    data = bytearray(encode_export(checkpoint(DOCUMENT), DOCUMENT, codec))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises((CorruptData, SchemaTooNew)):
        decode_export(bytes(data))


def forged(made: Checkpoint, value: bytes) -> bytes:
    """A file whose outer checksum is right."""
    parts = [b"HWCKPT01"]
    for part in (encode_checkpoint(made), value):
        parts += [len(part).to_bytes(4, "big"), part]
    body = b"".join(parts)
    return body + sha256(body).digest()


def sealed(agent: Agent, **forgery: Any) -> bytes:
    """A snapshot of an agent, as told."""
    snapshot = full_snapshot(agent, events_offset=0, node_id="n", created_at=1)
    codec = forgery.pop("codec", "none")
    stored = forgery.pop("stored", snapshot.payload)
    snapshot = msgspec.structs.replace(snapshot, **forgery)
    return Sealed(snapshot=snapshot, codec=codec, stored=stored).value()


def test_parts_that_do_not_belong_together_are_refused() -> None:
    """Though each is sound by itself: another agent's snapshot, another version's, another state,
    another payload than its checksum says.
    """
    made = checkpoint(DOCUMENT)
    head = msgspec.structs.replace(genesis("a"), version=7, hash=made.hash)
    assert decode_export(forged(made, sealed(Agent(head, DOCUMENT))))[0] == made
    other = msgspec.structs.replace(head, agent_id="b")
    newer = msgspec.structs.replace(head, version=8)
    wrong = [
        sealed(Agent(other, DOCUMENT)),
        sealed(Agent(newer, DOCUMENT)),
        sealed(Agent(head, new_document())),
        sealed(Agent(head, DOCUMENT), checksum=bytes(32)),
        sealed(Agent(head, DOCUMENT), kind="INCREMENTAL"),
        b"rubbish",
    ]
    for value in wrong:
        with pytest.raises(InvalidState):
            decode_export(forged(made, value))


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.SNAPPY])
def test_a_bomb_is_refused_before_it_goes_off(codec: Codec) -> None:
    """A payload that grows beyond what it declares, and one that declares too much."""
    made = checkpoint(DOCUMENT)
    head = msgspec.structs.replace(genesis("a"), version=7, hash=made.hash)
    bomb = compress(bytes(1 << 20), codec)
    with pytest.raises(DecompressionBomb):
        decode_export(forged(made, sealed(Agent(head, DOCUMENT), codec=codec.value, stored=bomb)))
    honest = compress(bytes(81 << 20), codec)
    big = sealed(Agent(head, DOCUMENT), codec=codec.value, stored=honest, payload=bytes(81 << 20))
    with pytest.raises(DecompressionBomb):
        decode_export(forged(made, big))
