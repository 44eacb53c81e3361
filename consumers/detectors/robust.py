"""Statistics that a few wild values do not move.

Sources: Rousseeuw and Croux, "Alternatives to the median absolute deviation", 1993; Theil, "A
rank-invariant method of linear and polynomial regression analysis", 1950, and Sen, "Estimates of
the regression coefficient based on Kendall's tau", 1968. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

_NORMAL = 1.4826
"""What makes a median absolute deviation a standard deviation, were the values normal."""


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The median, and the median absolute deviation from it, scaled to a standard deviation."""
    middle = median(values)
    return middle, _NORMAL * median(abs(value - middle) for value in values)


def score(value: float, values: Sequence[float], least: float) -> float:
    """How many deviations ``value`` is above the median of ``values``; ``least`` is the smallest
    deviation to be assumed, for values that are all alike.
    """
    middle, deviation = spread(values)
    return (value - middle) / max(deviation, least)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points (x, y): up to 29 % of them may be
    wild. 0 where there are no two different x.
    """
    slopes = [
        (y2 - y1) / (x2 - x1)
        for i, (x1, y1) in enumerate(points)
        for x2, y2 in points[i + 1 :]
        if x2 != x1
    ]
    return median(slopes) if slopes else 0.0


def rising(points: Sequence[tuple[float, float]]) -> float:
    """Which share of the pairs of points rises: 1 for a line upwards, about 0.5 for noise."""
    signs = [y2 > y1 for i, (_, y1) in enumerate(points) for _, y2 in points[i + 1 :]]
    return sum(signs) / len(signs) if signs else 0.5
