"""However agents lived and whenever they are pruned, what was promised can be had back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.retention import Policy
from tests.support.pruning import Shelf

NAMES = st.sampled_from(["ada", "ben"])
NOBODY = st.just("")
STEPS = st.lists(
    st.one_of(
        # Each of these is committed by itself, so that chains grow, merge and are replaced.
        st.tuples(st.just("work"), NAMES, st.integers(1, 9)),
        st.tuples(st.just("work"), NAMES, st.integers(1, 9)),
        st.tuples(st.just("idle"), NAMES, st.integers(1, 5)),
        st.tuples(st.just("say"), NAMES, st.integers(1, 60)),
        st.tuples(st.just("mark"), NAMES, st.sampled_from(["automatic", "manual", "milestone"])),
        st.tuples(st.just("delete"), NAMES, st.just(0)),
        st.tuples(st.just("fork"), NAMES, st.integers(1, 20)),
        st.tuples(st.just("wait"), NOBODY, st.integers(1, 40)),
        st.tuples(st.just("prune"), NOBODY, st.just(0)),
        st.tuples(st.just("prune at once"), NOBODY, st.just(0)),
    ),
    min_size=8,
    max_size=40,
)
SPANS = st.sampled_from([0, 10, 50])
POLICIES = st.builds(
    lambda history, grace, keep, most, compress, listed: Policy(
        history=timedelta(milliseconds=history),
        grace=timedelta(milliseconds=grace),
        checkpoints_keep=timedelta(milliseconds=keep),
        checkpoints_max=most,
        compress_after=timedelta(milliseconds=compress),
        listed=listed,
    ),
    SPANS,
    st.sampled_from([0, 5]),
    st.sampled_from([60, 500]),
    st.integers(1, 4),
    st.sampled_from([0, 20, 1000]),
    st.sampled_from([0, 2]),
)


def play(shelf: Shelf, policy: Policy, steps: list[tuple[str, str, Any]]) -> int:
    """Take the steps; how much was promised, and held, in all."""
    promised = 0
    for kind, name, value in steps:
        if kind == "work":
            for number in range(value):
                shelf.say(name, str(number))
                shelf.commit()
        elif kind == "idle":
            for _ in range(value):
                shelf.write(name, "CHANGE")  # a version without a patch: it is in no increment
                shelf.commit()
        elif kind == "say":
            shelf.say(name, "x" * value)
        elif kind == "mark":
            shelf.say(name, "to be marked")
            shelf.mark(name, value)
        elif kind == "delete":
            shelf.write(name, "DELETE")
        elif kind == "fork":
            # One that is put away again within the same commit leaves nothing but its event.
            shelf.fork(name, "fork", value)
            shelf.commit()
        elif kind == "wait":
            # What is committed together was written at about the same time.
            shelf.commit()
            shelf.now_ms += value
        else:
            if kind == "prune":
                shelf.commit()
            shelf.prune(policy)
            promised += shelf.check(policy)
    return promised


@settings(max_examples=150)
@given(policy=POLICIES, steps=STEPS)
def test_what_is_promised_is_there_after_pruning(
    policy: Policy, steps: list[tuple[str, str, Any]]
) -> None:
    """Every young version, every checkpoint, every head and every fork; and a second pass finds
    nothing more to do.
    """
    with quiet():
        shelf = Shelf()
        play(shelf, policy, [*steps, ("prune", "", 0)])
        (part,) = shelf.prune(policy).partitions
        assert ([drop.keys for drop in part.drops], [h for h in part.holds if h.path]) == ([], [])
        shelf.check(policy)


@contextmanager
def quiet() -> Iterator[None]:
    """What examples make the compactor complain of is no news."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
