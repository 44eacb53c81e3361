"""A snapshot's time is part of what makes it valid."""

from __future__ import annotations

import pytest

from headwater.errors import InvalidState
from headwater.log.fold import new_agent
from headwater.log.snapshots import check_time, full_snapshot

DAY = 86_400_000
NOW = 1_700_000_000_000


def test_times() -> None:
    """The present is fine, a week and more warns, the future is refused."""

    def made(at: int) -> str | None:
        full = full_snapshot(new_agent("a"), events_offset=0, node_id="n", created_at=at)
        return check_time(full, NOW)

    assert made(NOW) is None
    assert made(NOW + 60_000) is None, "clocks differ"
    assert made(NOW - 7 * DAY) is None
    assert "8 days old" in (made(NOW - 8 * DAY) or "")
    with pytest.raises(InvalidState) as refused:
        made(NOW + DAY)
    assert refused.value.check == "time"
