"""States far beyond one message: stored in chunks, with every broker's default limits."""

from __future__ import annotations

import random

import pytest

import headwater
from headwater import Config
from tests.support.clusters import Kafka, fresh_config
from tests.support.stage import Stage, compacting

pytestmark = pytest.mark.kafka

PIECE = 800_000
LIMIT = 1_048_588
"""What a broker takes as one message by default."""


@pytest.fixture
def config(headwater_kafka: Kafka) -> Config:
    """Topics of this test alone."""
    return fresh_config(headwater_kafka, partitions=1)


@pytest.mark.parametrize(
    "pieces", [8, pytest.param(78, marks=[pytest.mark.long, pytest.mark.timeout(400)])]
)
def test_a_large_state_comes_back(config: Config, pieces: int) -> None:
    """Written, snapshot, kept, forked, restored and recovered, in records below the limit."""
    dice = random.Random(7)
    stage = Stage(config)
    with headwater.connect(config) as hw, compacting(config):
        with hw.agent("large", session="s-1") as agent:
            for number in range(pieces):
                with agent.change() as state:
                    state.status = "growing"
                    state.data[f"piece-{number:03d}"] = dice.randbytes(PIECE)
            kept = agent.checkpoint("manual", "whole")
            whole = agent.copy()
            with agent.change() as state:
                state.data["piece-000"] = b""
        stage.await_end()
        found = hw.recover("large")
        assert found.tail_records == 0
        assert found.state.data["piece-000"] == b""
        assert hw.at("large", kept.checkpoint_id).state == whole
        fork = hw.fork("large", kept.checkpoint_id, "twin")
        assert fork.state.data == whole.data
        restored = hw.restore("large", kept.checkpoint_id)
        assert restored.changed
        stage.await_end()
        assert hw.recover("large").state == whole
    records = stage.read("snapshots")
    assert max(len(m.value() or b"") + len(m.key() or b"") for m in records) < LIMIT
    chunks = [m for m in records if (m.key() or b"").rsplit(b"\0", 1)[-1].isdigit()]
    assert len(chunks) > 2
    stage.close()
