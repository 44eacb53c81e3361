"""One instance of the compactor as a process of its own."""

from __future__ import annotations

import json
import logging
import sys
from datetime import timedelta

from headwater.config import Config
from headwater.errors import RetryableError
from headwater.program import until_told
from headwater.recovery import Recovery
from headwater.recovery.calibrate import Predictor
from headwater.recovery.predict import TYPICAL, Rates
from headwater.topics import connect_topics

from .compactor import Compactor, to_json
from .partition import Timing
from .policy import CheckpointPolicy
from .strategy import make_strategy

log = logging.getLogger("headwater.compactor")

_POLICY = CheckpointPolicy()


def run(
    config: Config,
    *,
    commit_interval_ms: int = 250,
    strategy: str = "outweigh",
    rto_ms: float | None = None,
    checkpoint_trigger: str = _POLICY.trigger,
    checkpoint_interval: timedelta = _POLICY.interval,
    checkpoint_steps: int = _POLICY.every_steps,
    json_stats: bool = False,
) -> None:
    """Run a compactor until SIGTERM or SIGINT; then commit what is pending, and return.

    ``rto_ms`` is the recovery time that the strategy "budget" keeps to, by rates measured here.
    Checkpoints are made as in :class:`~.policy.CheckpointPolicy`. With ``json_stats`` the last line
    on stdout is one JSON object. Raises Headwater's errors for what no retry can mend.
    """
    policy = CheckpointPolicy(
        trigger=checkpoint_trigger, interval=checkpoint_interval, every_steps=checkpoint_steps
    )
    chosen = make_strategy(strategy, rto_ms=rto_ms)
    if rto_ms is not None:
        chosen = make_strategy(strategy, rto_ms=rto_ms, rates=measured_rates(config))
    compactor = Compactor(
        config,
        strategy=chosen,
        timing=Timing(commit_s=commit_interval_ms / 1000),
        policy=policy,
    )
    try:
        with until_told() as stop:
            compactor.run(stop)
    finally:
        if json_stats:
            sys.stdout.write(json.dumps(to_json(compactor.stats())) + "\n")


def measured_rates(config: Config) -> Rates:
    """The rates of recoveries from here, measured for about a second; typical ones where there are
    no agents, or Kafka does not answer now.
    """
    try:
        recovery = Recovery(config, connect_topics(config), follow_index=True)
        try:
            return Predictor(recovery).calibrate()
        finally:
            recovery.close()
    except RetryableError as error:
        log.warning("typical rates of recovery are used: %s", error)
        return TYPICAL
