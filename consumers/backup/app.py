"""The backup as a process of its own."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import timedelta

from headwater.backup.builder import SEGMENT_BYTES
from headwater.config import Config
from headwater.program import until_told
from headwater.tiers import open_tier

from .job import INTERVAL, Backup, to_json, yield_to_others


def run(
    config: Config,
    to: str,
    *,
    interval: timedelta = INTERVAL,
    segment_bytes: int = SEGMENT_BYTES,
    replica: str | None = None,
    json_stats: bool = False,
) -> None:
    """Back up to the tier at ``to`` until SIGTERM or SIGINT; what is being copied then is finished.

    With ``replica``, the newest full snapshot of each agent goes to the tier there, too. With
    ``json_stats`` the last line on stdout is one JSON object. Raises Headwater's errors for what
    no retry can mend.
    """
    yield_to_others()
    with until_told() as stop, ExitStack() as stack:
        tier = stack.enter_context(open_tier(to, config))
        second = None if replica is None else stack.enter_context(open_tier(replica, config))
        backup = Backup(
            config, tier, interval=interval, segment_bytes=segment_bytes, replica=second
        )
        backup.run(stop)
        if json_stats:
            sys.stdout.write(json.dumps(to_json(backup.stats())) + "\n")
