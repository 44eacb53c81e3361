"""The seal around stored values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import CorruptData, SchemaTooNew
from headwater.tiers.envelope import OVERHEAD_BYTES, seal, unseal


@given(st.text(min_size=1, max_size=20), st.binary())
def test_round_trip(key: str, value: bytes) -> None:
    """What was sealed for a key is what is unsealed for it; the seal costs a fixed length."""
    sealed = seal(key, value)
    assert unseal(key, sealed) == value
    assert len(sealed) == len(value) + OVERHEAD_BYTES


@given(st.binary(max_size=50), st.data())
def test_any_change_breaks_it(value: bytes, data: st.DataObject) -> None:
    """No other bytes, and no other key, unseal to anything."""
    sealed = bytearray(seal("a", value))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((CorruptData, SchemaTooNew)):
        unseal("a", bytes(sealed))
    with pytest.raises(CorruptData):
        unseal("b", seal("a", value))


@given(st.binary(max_size=200))
def test_other_bytes_are_no_value(stored: bytes) -> None:
    """Bytes that nobody sealed are corrupt, however few or many."""
    with pytest.raises(CorruptData, match="corrupt"):
        unseal("a", stored)


def test_an_earlier_seal() -> None:
    """There was none before version 1: a flipped bit is no older format."""
    sealed = seal("a", b"value")
    with pytest.raises(CorruptData, match="version 0"):
        unseal("a", sealed[:4] + b"\x00" + sealed[5:])


def test_a_later_seal() -> None:
    """A seal of a later version asks for an upgrade instead of crying corruption."""
    sealed = seal("a", b"value")
    with pytest.raises(SchemaTooNew, match="version 2"):
        unseal("a", sealed[:4] + b"\x02" + sealed[5:])
