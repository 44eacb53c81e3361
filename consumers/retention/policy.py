"""How long what is kept."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

from headwater.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What stays, for how long.

    ``history``: every version younger than this can be had back. ``listed``: the newest snapshots
    of each session stay records of their own for as long, even where others hold the same.
    ``checkpoints_keep`` and ``checkpoints_max``: how long a checkpoint is kept, and how many an
    agent has at most; ``compress_after``: the age at which it gets a state of its own. ``grace``:
    nothing goes that was replaced more recently, for somebody may be about to read it.
    """

    history: timedelta = timedelta(hours=24)
    listed: int = 10
    checkpoints_keep: timedelta = timedelta(days=7)
    checkpoints_max: int = 20
    compress_after: timedelta = timedelta(hours=1)
    grace: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < (timedelta(0) if isinstance(value, timedelta) else 0):
                raise ConfigError(f"{field.name} cannot be negative, and is {value}")
        if self.checkpoints_max < 1:
            raise ConfigError("an agent's newest checkpoint is always kept: checkpoints_max >= 1")

    @property
    def history_ms(self) -> int:
        """How long what was replaced stays: milliseconds."""
        return _ms(max(self.history, self.grace))

    @property
    def events_ms(self) -> int:
        """How long events stay: milliseconds. Longer than the history by the grace, for what leads
        to a young version began a little earlier.
        """
        return self.history_ms + self.grace_ms

    @property
    def grace_ms(self) -> int:
        """:attr:`grace` in milliseconds."""
        return _ms(self.grace)

    @property
    def checkpoints_keep_ms(self) -> int:
        """:attr:`checkpoints_keep` in milliseconds."""
        return _ms(self.checkpoints_keep)

    @property
    def compress_after_ms(self) -> int:
        """:attr:`compress_after` in milliseconds."""
        return _ms(self.compress_after)


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
