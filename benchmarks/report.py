"""What a benchmark says: one JSON object, or a table for people."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import confluent_kafka
from rich.console import Console
from rich.table import Table

from benchmarks.measure import spread
from headwater.local import VERSION as KAFKA

_OURS = "headwater"
_PACKAGES = ("headwater", "confluent-kafka", "fastavro", "msgspec", "lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bar that a figure must reach: at most, or at least, ``bar``."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether ``value`` reaches it."""
        below = self.at_most is None or value <= self.at_most
        return below and (self.at_least is None or value >= self.at_least)

    def __str__(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


@dataclass(slots=True, kw_only=True)
class Report:
    """One benchmark's outcome.

    ``rounds`` holds a figure's value in each round; the figure itself is their median. ``sides``
    holds each side's own figures, round by round; the names of ours begin with ``headwater``.
    """

    name: str
    question: str
    quick: bool
    targets: Mapping[str, Target]
    rounds: dict[str, list[float]] = field(default_factory=dict)
    sides: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    setup: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    peer_versions: dict[str, str] = field(default_factory=dict)
    load_before: tuple[float, float, float] = field(default_factory=os.getloadavg)

    def add(self, **figures: float) -> None:
        """One more round's value of each figure."""
        for name, value in figures.items():
            self.rounds.setdefault(name, []).append(value)

    def add_side(self, side: str, result: dict[str, Any]) -> None:
        """One more round of one side."""
        self.sides.setdefault(side, []).append(result)

    def figures(self) -> dict[str, float]:
        """Each figure's median over the rounds."""
        return {name: spread(values)["median"] for name, values in self.rounds.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything, figures at the top level; a bar without a figure counts as missed."""
        figures = self.figures()
        targets = {
            name: {"bar": str(target), "met": name in figures and target.met(figures[name])}
            for name, target in self.targets.items()
        }
        sides = {
            side: {"median": _medians(results), "rounds": results}
            for side, results in self.sides.items()
        }
        return {
            "bench": self.name,
            "quick": self.quick,
            **{name: figures.get(name) for name in self.targets},
            **figures,
            "targets": targets,
            "spread": {name: spread(values) for name, values in self.rounds.items()},
            "headwater": {k: v for k, v in sides.items() if k.startswith(_OURS)},
            "peers": {k: v for k, v in sides.items() if not k.startswith(_OURS)},
            "setup": self.setup,
            "notes": self.notes,
            "machine": self.machine(),
            "versions": versions() | self.peer_versions,
        }

    def machine(self) -> dict[str, Any]:
        """Cores, system, and the load (1, 5, 15 minutes) before and after."""
        return {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_before": list(self.load_before),
            "load_after": list(os.getloadavg()),
        }


def _medians(results: list[dict[str, Any]]) -> dict[str, float]:
    numbers = [
        name
        for name, value in results[0].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return {name: spread([r[name] for r in results])["median"] for name in numbers}


def versions() -> dict[str, str]:
    """Of Python, librdkafka and the packages that the figures rest on."""
    found = {
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA if not os.environ.get("HEADWATER_BOOTSTRAP_SERVERS") else "?",
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "?"
    return found


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def emit(report: Report, *, as_json: bool) -> None:
    """The report on stdout."""
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        print_tables(report, Console())


def print_tables(report: Report, console: Console) -> None:
    """Figures against their bars, then each side's own figures."""
    result = report.to_json()
    table = Table(title=f"{report.name}: {report.question}", title_justify="left")
    for column in ("figure", "median", "min", "max", "bar", "met"):
        table.add_column(column, justify="left" if column in ("figure", "met") else "right")
    for name in dict.fromkeys([*report.targets, *report.rounds]):
        values = result["spread"].get(name)
        target = result["targets"].get(name)
        shown = [f"{values[k]:.4g}" for k in ("median", "min", "max")] if values else ["-"] * 3
        verdict = ("yes" if target["met"] else "NO") if target else ""
        table.add_row(name, *shown, target["bar"] if target else "", verdict)
    console.print(table)
    for side, results in report.sides.items():
        console.print(side, style="bold", end=": ")
        medians = _medians(results)
        console.print(", ".join(f"{name} {value:.5g}" for name, value in medians.items()))
    for note in report.notes:
        console.print(f"- {note}")
    machine = report.machine()
    console.print(
        f"{machine['cores']} cores, load {machine['load_before']} to {machine['load_after']}"
    )
