"""A draft to be played with."""

from __future__ import annotations

import pytest

from headwater.state.draft import Recorder, StateView
from headwater.state.model import new_document


@pytest.fixture
def recorder() -> Recorder:
    """A draft of a document with some of everything in it."""
    document = new_document()
    document["data"] = {"plan": ["a", "b"], "text": "x" * 100, "tags": {"t"}, "m": {"k": {"x": 1}}}
    document["messages"] = [{"n": n} for n in range(5)]
    return Recorder(document)


@pytest.fixture
def state(recorder: Recorder) -> StateView:
    """What an agent sees of that draft."""
    return recorder.view
