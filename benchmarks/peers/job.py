"""The part of the `compact` job that does not depend on the engine: what each peer does an event.

Admission and application are Headwater's own pure functions, so that engines are compared and not
parsers. There are two ways to lay out a peer's table:

- ``whole``: one entry an agent, its head and its state. The table's changelog then holds a full
  snapshot of every agent, which is the job's outcome; this is the way that is compared.
- ``split``: one entry for each key of an agent's data, and one for its head. An event costs one
  write of its own size, but nothing holds an agent's snapshot: to recover one, the changelog would
  have to be read. Less than the job; its figures are there to show what the engine alone costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from benchmarks.measure import Meter
from headwater.log.fold import Admission, Agent, Head, admit, advance, fold, genesis, new_agent
from headwater.log.records import StateChange, parse
from headwater.state.patch import decode_patch

_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_entry = msgspec.msgpack.Decoder(tuple[Head, dict[str, Any]]).decode


class Entries(Protocol):
    """What an engine's table holds for one agent; Quix's ``State`` is one."""

    def get_bytes(self, key: str) -> bytes | None:
        """The entry's value, or None where there is none."""

    def set_bytes(self, key: str, value: bytes) -> None:
        """Put the entry's value."""


def apply_whole(entries: Entries, change: StateChange) -> None:
    """Take an event into an agent's one entry."""
    stored = entries.get_bytes("state")
    agent = Agent(*_decode_entry(stored)) if stored is not None else new_agent(change.agent_id)
    _require(fold(agent, change), change)
    entries.set_bytes("state", _encode((agent.head, agent.document)))


def apply_split(entries: Entries, change: StateChange) -> None:
    """Take an event into an agent's head and the entries of the keys that it sets."""
    stored = entries.get_bytes("head")
    head = _decode_head(stored) if stored is not None else genesis(change.agent_id)
    _require(admit(head, change), change)
    entries.set_bytes("head", _encode(advance(head, change)))
    if change.patch:
        for _, path, value in decode_patch(change.patch):
            entries.set_bytes("/".join(path), _encode(value))


LAYOUTS: dict[str, Callable[[Entries, StateChange], None]] = {
    "whole": apply_whole,
    "split": apply_split,
}


def read_event(key: bytes, value: bytes) -> StateChange:
    """The event of a message."""
    return parse(key, value)


def _require(admission: Admission, change: StateChange) -> None:
    if admission is not Admission.ADMITTED:
        raise ValueError(f"{admission.value}: {change.agent_id} {change.sequence}")


class Progress:
    """Counts events; measures from the event after the warm-up on."""

    def __init__(self, warm_up: int, total: int) -> None:
        self.meter = Meter()
        self.seen = 0
        self.total = total
        self._warm_up = warm_up

    def count(self, events: int = 1) -> None:
        """So many more are done."""
        before, self.seen = self.seen, self.seen + events
        if before < self._warm_up <= self.seen:
            self._warm_up = self.seen
            self.meter.start()

    @property
    def done(self) -> bool:
        """Whether all are."""
        return self.seen >= self.total

    @property
    def measured(self) -> int:
        """Events after the warm-up."""
        return self.seen - self._warm_up
