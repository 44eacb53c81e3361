"""The quick way of admission and the long one are the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import SchemaTooNew, UndecodableRecord
from headwater.log.fastpath import MovingHead
from headwater.log.fold import Admission, Head, admit, advance, genesis
from headwater.log.records import Encoder, encode_long, parse

AGENT = "agent-7"
KEY = AGENT.encode()


def _session(epoch: int, writer: int, owned: bool) -> Encoder:
    return Encoder(
        agent_id=AGENT,
        epoch=epoch,
        nonce=bytes([writer]) * 16 if owned else None,
        session_id=f"session-{writer}",
        request_id=None if writer % 2 else "request",
        node_id=f"node-{writer}",
        incarnation=bytes([writer]) * 16,
        lease_ms=3000,
    )


def _overlong(value: bytes) -> bytes:
    """The same record with its last number in one byte more than needed: Avro reads it the same."""
    return value[:-1] + bytes([value[-1] | 0x80, 0])


KINDS = ["CHANGE"] * 6 + ["RELEASE", "CHECKPOINT", "RESTORE", "DELETE"]
# Mostly the plain case, so that histories are long enough for the others to matter.
STEPS = st.fixed_dictionaries(
    {
        "do": st.sampled_from(
            ["own"] * 8 + ["claim", "claim", "rival", "stale", "repeat", "mangle", "overlong"]
        ),
        "kind": st.sampled_from(KINDS),
        "writer": st.integers(0, 2),
        "sequence": st.integers(0, 300),
        "patch": st.binary(max_size=200),
        "created": st.integers(0, 2**50),
        "pick": st.integers(0, 1000),
        "cut": st.integers(0, 400),
        "junk": st.binary(max_size=12),
    }
)


def _value(step: dict[str, Any], head: Head, written: list[bytes]) -> bytes:
    do = step["do"]
    owner = head.nonce[0] if head.nonce is not None else 0
    if do == "claim":
        return _session(head.epoch + 1, step["writer"], True).claim(step["created"])
    if do == "repeat" and written:
        return bytes(written[step["pick"] % len(written)])
    if do == "mangle" and written:
        value = written[step["pick"] % len(written)]
        cut = step["cut"] % (len(value) + 1)
        return b"".join((value[:cut], step["junk"], value[cut + step["pick"] % 3 :]))
    writer, prev = owner, head.hash
    if do == "rival":
        writer = step["writer"]
    elif do == "stale":
        prev = bytes(32)
    session = _session(head.epoch, writer, head.nonce is not None)
    value = session.record(step["kind"], prev, step["sequence"], step["patch"], step["created"])
    return _overlong(value) if do == "overlong" else value


def _slow(head: Head, value: bytes) -> tuple[Head, object, bytes | None]:
    try:
        change = parse(KEY, value)
    except (UndecodableRecord, SchemaTooNew) as error:
        return head, type(error), None
    admission = admit(head, change)
    if admission is Admission.ADMITTED:
        return advance(head, change), admission, change.patch
    return head, admission, None


def _quick(moving: MovingHead, value: bytes) -> tuple[object, bytes | None, bool]:
    patch = moving.extend(value)
    if patch is not None:
        return Admission.ADMITTED, patch, True
    try:
        change = parse(KEY, value)
    except (UndecodableRecord, SchemaTooNew) as error:
        return type(error), None, False
    admission = moving.take(change, value)
    return admission, change.patch if admission is Admission.ADMITTED else None, False


@given(st.lists(STEPS, max_size=40), st.booleans())
@settings(max_examples=300, deadline=None)
def test_both_ways_admit_the_same_and_lead_to_the_same_head(
    steps: list[dict[str, Any]], look: bool
) -> None:
    """Whatever is written by owners, rivals and vandals, nobody could tell the two ways apart."""
    head, moving = genesis(AGENT), MovingHead(genesis(AGENT))
    written: list[bytes] = []
    for step in steps:
        value = _value(step, head, written)
        head, outcome, patch = _slow(head, value)
        quick_outcome, quick_patch, _ = _quick(moving, value)
        assert (quick_outcome, quick_patch) == (outcome, patch)
        assert (moving.hash, moving.record) == (head.hash, head.record)
        if look:
            assert moving.head == head
        written.append(value)
    assert moving.head == head


def test_an_owners_second_change_takes_the_quick_way() -> None:
    """The quick way is taken where it is meant to be: from an owner's second CHANGE on."""
    moving = MovingHead(genesis(AGENT))
    session = _session(1, 1, True)
    _quick(moving, session.claim(5))
    ways = []
    for number in range(2, 400):
        value = session.record("CHANGE", moving.hash, number, b"x" * number * 3, 10**12 + number)
        ways.append(_quick(moving, value)[2])
    assert ways == [False] + [True] * 397
    assert moving.head.version == 398
    assert moving.head.updated_at == 10**12 + 399


def test_a_number_longer_than_64_bits_takes_the_long_way() -> None:
    """What Avro's readers may disagree about is left to the one reader that decides."""
    moving = MovingHead(genesis(AGENT))
    session = _session(1, 1, True)
    _quick(moving, session.claim(5))
    _quick(moving, session.record("CHANGE", moving.hash, 2, b"", 1))
    value = session.record("CHANGE", moving.hash, 3, b"", 1)
    assert moving.extend(value[: -len(encode_long(1))] + b"\x82" + b"\x80" * 9 + b"\x00") is None
