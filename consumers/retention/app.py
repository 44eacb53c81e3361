"""Retention as a process of its own: a pass every few minutes."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import ConfigError, Fenced, HeadwaterError
from headwater.program import until_told
from headwater.topics import connect_topics

from .job import Done, Retention
from .policy import Policy

log = logging.getLogger("headwater.retention")

INTERVAL = timedelta(minutes=5)


def run(config: Config, *, policy: Policy | None = None, interval: timedelta = INTERVAL) -> None:
    """Make a pass now and after each ``interval``, until SIGTERM or SIGINT.

    A pass that fails is logged, and made again when the next is due. Raises
    :class:`ConfigError` for settings and topics that are not as they must be.
    """
    with until_told() as stop:
        retention = Retention(config, connect_topics(config), policy)
        try:
            log.info("retention %s started: a pass every %s", config.node_id, interval)
            follow(retention, interval, stop)
        finally:
            retention.close()


def follow(retention: Retention, interval: timedelta, stop: threading.Event) -> None:
    """Make passes until ``stop`` is set."""
    while not stop.is_set():
        try:
            report(retention.run(wall_ms(), stop=stop))
        except ConfigError:
            raise
        except Fenced as error:
            log.info("another instance made a pass meanwhile: %s", error)
        except HeadwaterError as error:
            log.warning("this pass failed, the next is due in %s: %s", interval, error)
        stop.wait(interval.total_seconds())


def report(done: Done) -> None:
    """Say what a pass did, where it did anything."""
    plan, total = done.plan, done.plan.total
    if total.records or done.held:
        log.info(
            "%d records (%d bytes) deleted, %d checkpoints given a state of their own",
            total.records, total.size, done.held,
        )  # fmt: skip
    for name in plan.overdue:
        log.warning("agent %r keeps events: a checkpoint of it cannot be read without them", name)
