"""Switches that break a guarantee on purpose, so that fault tests can show that they would notice.

Only ``HEADWATER_TEST_SABOTAGE`` sets them, and a loud warning says so; no command or setting does.
"""

from __future__ import annotations

import logging
import os

from headwater.errors import ConfigError
from headwater.log import fold

log = logging.getLogger("headwater.sabotage")

NO_PREV_CHECK = "no-prev-check"
NO_LEASE_CHECK = "no-lease-check"
NO_INIT_TRANSACTIONS = "no-init-transactions"
_ALL = frozenset({NO_PREV_CHECK, NO_LEASE_CHECK, NO_INIT_TRANSACTIONS})


def active() -> frozenset[str]:
    """The switches that are set; switches admission off on the way where that is one of them."""
    chosen = frozenset(filter(None, os.environ.get("HEADWATER_TEST_SABOTAGE", "").split(",")))
    if not chosen <= _ALL:
        raise ConfigError(f"HEADWATER_TEST_SABOTAGE: none of {', '.join(sorted(_ALL))}")
    if chosen:
        log.critical("guarantees are switched off for a test: %s", ", ".join(sorted(chosen)))
    fold.CHECK_PREV = NO_PREV_CHECK not in chosen
    return chosen
