"""Hypothesis strategies for values, documents and patches, shared by all property tests."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from headwater.state.patch import APPEND, REMOVE, SET, SPLICE, TEXT

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For tests of whole documents, on a machine that may be busy with others."""

texts = st.text(max_size=8)
keys = st.one_of(st.sampled_from(["a", "b", "c", "k", "é", ""]), texts)
integers = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, -(2**80), 2**200]),
)
floats = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0]))
offsets = st.builds(
    lambda micros, name: timezone(timedelta(microseconds=micros), *name),
    st.integers(-86_399_999_999, 86_399_999_999),
    st.one_of(st.just(()), st.tuples(texts)),
)
zones = st.one_of(
    st.none(),
    st.just(UTC),
    offsets,
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]).map(ZoneInfo),
)
datetimes = st.builds(
    lambda when, zone, fold: when.replace(tzinfo=zone, fold=fold),
    st.datetimes(),
    zones,
    st.integers(0, 1),
)
plain_scalars = st.one_of(
    st.none(), st.booleans(), integers, floats, texts, st.text(min_size=64, max_size=80)
)
scalars = st.one_of(
    plain_scalars, st.binary(max_size=8), datetimes, st.dates(), st.uuids(), st.decimals()
)


class Family:
    """Strategies for values, and for documents, that are made of certain scalars."""

    def __init__(self, scalars: st.SearchStrategy[Any]) -> None:
        hashables = st.recursive(
            scalars.filter(lambda value: not _signals(value)),
            lambda inner: st.one_of(
                st.frozensets(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)
            ),
            max_leaves=4,
        )
        # Deferred, because hypothesis prints what a strategy is made of otherwise, at length.
        self.hashables: st.SearchStrategy[Any] = st.deferred(lambda: hashables)
        values = st.recursive(scalars, self._containers, max_leaves=8)
        self.values: st.SearchStrategy[Any] = st.deferred(lambda: values)
        self.maps = st.dictionaries(keys, self.values, max_size=4)
        self.lists = st.lists(self.values, max_size=5)
        self.fields: dict[str, st.SearchStrategy[Any]] = {
            "session_id": texts,
            "request_id": st.none() | texts,
            "status": texts,
            "step": integers,
            "max_steps": st.none() | integers,
            "task": self.values,
            "data": self.maps,
            "messages": self.lists,
            "execution_history": self.lists,
            "tool_contexts": self.maps,
            "metadata": self.maps,
        }
        self.documents = st.fixed_dictionaries(self.fields)

    def _containers(self, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(keys, inner, max_size=4),
            st.lists(inner, max_size=3).map(tuple),
            st.sets(self.hashables, max_size=3),
            st.frozensets(self.hashables, max_size=3),
        )


def _signals(value: Any) -> bool:
    return hasattr(value, "is_snan") and bool(value.is_snan())


everything = Family(scalars)
values, lists = everything.values, everything.lists
"""Any value that a state can hold, and lists of them."""

documents = everything.documents
"""Documents with the right fields, each of its type; not all of them pass `validate`."""

comparable = Family(scalars.filter(lambda value: not _signals(value) and value == value))
"""The same without any NaN, which Python finds in a container by identity, and no copy has that."""


def paths(deepest: int = 3) -> st.SearchStrategy[list[Any]]:
    """Paths that lead into documents often, and elsewhere often enough."""
    rest = st.lists(st.one_of(keys, st.integers(-1, 3), st.booleans()), max_size=deepest)
    return st.builds(
        lambda field, more: [field, *more], st.sampled_from(sorted(everything.fields)), rest
    )


ops = st.one_of(
    st.tuples(st.just(SET), paths(), values),
    st.tuples(st.just(REMOVE), paths()),
    st.tuples(st.just(APPEND), paths(1), values),
    st.tuples(st.just(SPLICE), paths(1), st.integers(-1, 4), st.integers(-1, 3), lists),
    st.tuples(st.just(TEXT), paths(), texts),
)
"""Operations of the right form, which apply to some documents."""

rubbish = st.one_of(
    values,
    st.lists(values, max_size=6).map(tuple),
    st.tuples(st.integers(-1, 6) | values, paths() | values, values),
    st.tuples(st.integers(-1, 6) | values, paths() | values),
    st.tuples(st.just(SPLICE), paths(1) | values, integers | values, integers | values, values),
)
"""What a broken writer might put in an operation's place."""
