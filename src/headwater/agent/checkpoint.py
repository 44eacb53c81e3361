"""What a checkpoint is made of, before it is written."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from headwater.errors import ConfigError, TooLarge, UnsupportedValue
from headwater.log.notes import (
    MAX_NOTE_BYTES,
    CheckpointType,
    Note,
    encode_note,
    pack_metadata,
)

Metadata = Mapping[str, Any]


def new_note(
    type_: str,
    label: str,
    metadata: Metadata | None,
    version: int | None = None,
    state_hash: bytes | None = None,
    self_contained: bool = False,
) -> Note:
    """A new checkpoint, under a name of its own: at ``version``, where its maker knows it.

    Raises :class:`ConfigError` for a type that there is not, :class:`UnsupportedValue` for a label
    or metadata that no log can hold, :class:`TooLarge` for more than a note may hold.
    """
    kind = check_type(type_)
    if type(label) is not str:
        raise UnsupportedValue(f"a label is text, not {type(label).__name__}", ("label",))
    at = "" if version is None else f"{version}-"
    note = Note(
        id=f"{kind}-{at}{secrets.token_hex(4)}",
        type=kind.value,
        label=label,
        metadata=pack_metadata(dict(metadata or {})),
        state_hash=state_hash,
        self_contained=self_contained,
    )
    try:
        size = len(encode_note(note))
    except UnicodeEncodeError as error:
        raise UnsupportedValue(f"a label must be valid Unicode: {error}", ("label",)) from error
    if size > MAX_NOTE_BYTES:
        heavy = "metadata" if len(note.metadata) > len(label) else "label"
        raise TooLarge("a checkpoint's label and metadata", size, MAX_NOTE_BYTES, (heavy,))
    return note


def check_type(type_: str) -> CheckpointType:
    """The type of that name; :class:`ConfigError` where there is none."""
    try:
        return CheckpointType(type_)
    except ValueError:
        names = ", ".join(CheckpointType)
        raise ConfigError(f"a checkpoint's type is one of {names}, not {type_!r}") from None
