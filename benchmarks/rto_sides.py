"""The side of `rto`: it predicts everything first, and then measures it."""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.cluster import config_of
from benchmarks.measure import Meter, latencies_ms, percentile
from headwater.recovery import Failed, Recovery
from headwater.recovery.bulk import recover_many
from headwater.recovery.calibrate import Predictor


def predicted(params: dict[str, Any]) -> dict[str, Any]:
    """A client that follows the index: rates from the sample, then each of ``agents`` predicted,
    then each recovered once, in any order; last of all, everything at once.
    """
    config = config_of(params)
    meter = Meter()
    recovery = Recovery(config, params["partitions"], follow_index=True)
    try:
        predictor = Predictor(recovery)
        started = time.perf_counter()
        rates = predictor.calibrate(params["sample"])
        calibrated_s = time.perf_counter() - started
        started = time.perf_counter()
        predictions = [predictor.predict(agent) for agent in params["agents"]]
        predict_us = (time.perf_counter() - started) / len(predictions) * 1e6
        meter.start()
        taken = _recovered(recovery, params["agents"], params["seed"])
        used = meter.stop()
        fleet = predictor.fleet()
        fleet_s = _at_once(recovery)
    finally:
        recovery.close()
    ratios = [each.seconds / taken[each.agent_id] for each in predictions]
    return {
        **used,
        **latencies_ms(list(taken.values())),
        "fixed_us": rates.fixed_s * 1e6,
        "record_us": rates.record_s * 1e6,
        "byte_ns": rates.byte_s * 1e9,
        "tail_record_us": rates.tail_record_s * 1e6,
        "fleet_s": fleet_s,
        "fleet_predicted_s": fleet.seconds,
        "figures": {
            "within_factor_2": _within(ratios, 2),
            "within_factor_1_5": _within(ratios, 1.5),
            "ratio_p05": percentile(ratios, 0.05),
            "ratio_p50": percentile(ratios, 0.5),
            "ratio_p95": percentile(ratios, 0.95),
            "fleet_ratio": fleet.seconds / fleet_s,
            "calibrated_s": calibrated_s,
            "predict_us": predict_us,
        },
    }


def _within(ratios: list[float], factor: float) -> float:
    return sum(1 / factor <= ratio <= factor for ratio in ratios) / len(ratios)


def _recovered(recovery: Recovery, agents: list[str], seed: int) -> dict[str, float]:
    """Seconds that each agent's recovery took."""
    order = list(agents)
    random.Random(seed).shuffle(order)
    taken = {}
    for agent in order:
        started = time.perf_counter()
        recovered = recovery.recover(agent)
        taken[agent] = time.perf_counter() - started
        if not recovered.snapshots:
            raise RuntimeError(f"{agent} has no snapshots, which is not what is to be measured")
    return taken


def _at_once(recovery: Recovery) -> float:
    started = time.perf_counter()
    for recovered in recover_many(recovery):
        if isinstance(recovered, Failed):
            raise recovered.error
    return time.perf_counter() - started
