"""What workers say, a line of JSON each, on their standard output: the demo's own evidence.

A line that was written is in the pipe even when its writer is killed right after it.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec

Kind = Literal["ready", "claimed", "begin", "ack", "finished", "failed", "gone"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened in a worker.

    "begin": work on a step has begun; "ack": its change was acknowledged, as ``version`` of the
    agent. "gone" is written by nobody: it stands for the end of the worker's output.
    """

    kind: Kind
    agent: str = ""
    step: str = ""
    version: int = 0
    text: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was read from worker number ``worker``, at ``at_s`` of time.monotonic()."""

    worker: int
    at_s: float
    event: Event


def write(descriptor: int, event: Event) -> None:
    """Write an event at once, whole: lines this short do not mix in a pipe."""
    os.write(descriptor, msgspec.json.encode(event) + b"\n")


def read(line: bytes) -> Event:
    """The event of a line."""
    return msgspec.json.decode(line, type=Event)
