"""How long an agent's recovery takes: warm, cold, beside few and many others, and all at once."""

from __future__ import annotations

from typing import Any

from benchmarks.child import run_side
from benchmarks.cluster import Cluster, cluster, delete_topics, fresh_config, settings_of
from benchmarks.fleet import Fleet, build_fleet
from benchmarks.report import Report, Target, say
from headwater.config import Config
from headwater.topics import DEFAULT_PARTITIONS

ROUNDS = 3
SMALL = 1_000
LARGE = 100_000
QUICK_LARGE = 10_000
BULK = 2_000
MEASURED = 100
"""Agents of 50 KB that are recovered one by one; the rest of a fleet stands by."""
TARGETS = {
    "warm_p50_ms": Target(at_most=25),
    "cold_p50_ms": Target(at_most=150),
    "flatness": Target(at_most=1.3),
    "bulk_ratio": Target(at_least=0.4),
}


def run(*, quick: bool) -> Report:
    """Build the fleets once, then three alternating rounds."""
    large = QUICK_LARGE if quick else LARGE
    report = Report(
        name="recover",
        question="how long until an agent of 50 KB is back?",
        quick=quick,
        targets=TARGETS,
        setup={
            "agents": [SMALL, large],
            "partitions": DEFAULT_PARTITIONS,
            "measured": MEASURED,
            "bulk_agents": BULK,
        },
    )
    if quick:
        report.notes.append(f"quick: {large:,} agents where the full run has {LARGE:,}")
    with cluster() as kafka:
        fleets = {
            "small": _build(kafka, SMALL, MEASURED),
            "large": _build(kafka, large, MEASURED),
            "bulk": _build(kafka, BULK, BULK),
        }
        for number in range(1, ROUNDS + 1):
            say(f"round {number}")
            _round(
                report,
                fleets,
                warms=50 if quick else MEASURED,
                colds=10 if quick else 40,
                seed=number,
            )
        for config, _ in fleets.values():
            delete_topics(config, config.prefix)
    return report


def _build(kafka: Cluster, agents: int, measured: int) -> tuple[Config, Fleet]:
    config = fresh_config(kafka, DEFAULT_PARTITIONS, f"recover-{agents}")
    return config, build_fleet(config, agents, measured, tail=measured < agents)


def _round(
    report: Report,
    fleets: dict[str, tuple[Config, Fleet]],
    *,
    warms: int,
    colds: int,
    seed: int,
) -> None:
    warm, cold = {}, {}
    for size in ("small", "large"):
        config, fleet = fleets[size]
        params = {**settings_of(config), **fleet.params(), "seed": seed}
        warm[size] = run_side("benchmarks.recover_sides:warm", times=warms, **params)
        cold[size] = run_side("benchmarks.recover_sides:cold", times=colds, **params)
        report.add_side(f"headwater {size} warm", warm[size])
        report.add_side(f"headwater {size} cold", cold[size])
    bulk, raw = _bulk(report, *fleets["bulk"])
    report.add(
        warm_p50_ms=warm["large"]["p50_ms"],
        warm_small_p50_ms=warm["small"]["p50_ms"],
        # At both sizes: the worse one counts.
        cold_p50_ms=max(cold["small"]["p50_ms"], cold["large"]["p50_ms"]),
        cold_small_p50_ms=cold["small"]["p50_ms"],
        cold_large_p50_ms=cold["large"]["p50_ms"],
        flatness=warm["large"]["p50_ms"] / warm["small"]["p50_ms"],
        bulk_ratio=raw["wall_s"] / bulk["wall_s"],
    )


def _bulk(report: Report, config: Config, fleet: Fleet) -> tuple[dict[str, Any], dict[str, Any]]:
    params = {**settings_of(config), **fleet.params()}
    bulk = run_side("benchmarks.recover_sides:bulk", **params)
    raw = run_side("benchmarks.recover_sides:raw", **params)
    report.add_side("headwater bulk", bulk)
    report.add_side("raw", raw)
    return bulk, raw
