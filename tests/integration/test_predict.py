"""Predicted recovery times on a real cluster: what they count, what they measure, who uses them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

import headwater
from headwater import AgentNotFound, Client, Config
from headwater.cli import cli
from headwater.log.chain import partition_of
from headwater.recovery import Recovery
from headwater.recovery.calibrate import Predictor
from headwater.recovery.predict import RECORD_BYTES, TYPICAL, Rates, Reading
from streams.snapshots import Budget
from streams.snapshots.app import measured_rates
from tests.support.stage import Stage, compacting

pytestmark = pytest.mark.kafka

SIZES = {"small": 100, "middle": 20_000, "large": 300_000}


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Commands set the levels of loggers; other tests get them back as they were."""
    before = logging.getLogger("headwater.kafka").level
    yield
    logging.getLogger("headwater.kafka").setLevel(before)


@pytest.fixture(scope="module")
def fleet(hw: Client, config: Config) -> Iterator[Stage]:
    """Agents of three sizes in snapshots, one that was deleted, and a tail behind."""
    stage = Stage(config)
    with compacting(config):
        for name, size in SIZES.items():
            _fill(hw, name, "x" * size)
        _fill(hw, "deleted", "")
        hw.delete("deleted")
        stage.await_end()
    yield stage
    stage.close()


def _fill(hw: Client, name: str, text: str) -> None:
    with hw.agent(name) as agent, agent.change() as state:
        state.status, state.data["text"] = "running", text


def test_a_prediction_counts_what_is_read(fleet: Stage, hw: Client) -> None:
    """Snapshots and their bytes, and the records that came into the agent's partition since."""
    entry = fleet.entry("large")
    assert entry is not None
    before, other = hw.predict("large"), hw.predict("small")
    assert before.size_bytes == entry.snapshots[0].size + RECORD_BYTES > SIZES["large"]
    assert (before.records, before.tail_records) == (1, 0)
    assert 0 < other.seconds < 5
    _fill(hw, "large", "again")
    after = hw.predict("large")
    assert (after.tail_records, after.records) == (3, 4)  # claim, change, release
    assert after.seconds > before.seconds


def test_who_is_not_there_has_no_prediction(fleet: Stage, hw: Client) -> None:
    """Neither an agent that nobody knows, nor one that was deleted, where nothing came since."""
    # The tail that the test before made is in another partition.
    busy = partition_of(b"large", fleet.partitions)
    unknown = next(
        f"n-{n}" for n in range(99) if partition_of(b"n-%d" % n, fleet.partitions) != busy
    )
    assert partition_of(b"deleted", fleet.partitions) != busy
    for name in (unknown, "deleted"):
        with pytest.raises(AgentNotFound):
            hw.predict(name)


def test_a_fleet_is_predicted_as_a_whole(fleet: Stage, hw: Client, config: Config) -> None:
    """Each agent by itself as :meth:`predict` does, and all of them; async, too."""

    async def at_once() -> Any:
        async with headwater.connect(config) as client:
            return await client.predict_fleet(), await client.predict("small")

    found = hw.predict_fleet()
    assert {each.agent_id for each in found.agents} == SIZES.keys()
    assert found.longest is not None
    assert found.longest.agent_id == "large"
    assert found.size_bytes == sum(each.size_bytes for each in found.agents)
    assert found.seconds > 0
    assert hw.predict("middle") in found.agents
    same, small = asyncio.run(at_once())
    assert (same.records, same.size_bytes) == (found.records, found.size_bytes)
    assert small.size_bytes == hw.predict("small").size_bytes


def test_rates_come_from_a_bounded_sample(fleet: Stage, config: Config) -> None:
    """By a clock on which each recovery takes a tenth of a second, that is what is predicted;
    the first one does not count, and after the time that may be spent no other is begun.
    """
    recovery, ticks = Recovery(config, fleet.partitions, follow_index=True), [0.0]

    def clock() -> float:
        ticks[0] += 0.1
        return ticks[0]

    try:
        predictor = Predictor(recovery, clock)
        predictor.calibrate(SIZES, seconds=10)
        spent = ticks[0]
        assert spent == pytest.approx(0.1 * 2 * (1 + len(SIZES)))
        for name in SIZES:
            assert predictor.predict(name).seconds == pytest.approx(0.1, rel=0.2)
        assert ticks[0] == spent
        predictor.calibrate(list(SIZES) * 20, seconds=1)
        assert ticks[0] - spent < 2
        assert predictor.calibrate([]) == TYPICAL
    finally:
        recovery.close()


def test_agents_are_listed_by_predicted_time(fleet: Stage, config: Config) -> None:
    """`--sort rto` shows the slowest first; JSON has every agent's figures in any order."""
    environment = {
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
    }

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, ["agents", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return result

    found = json.loads(run("--sort", "rto", "--json").stdout)
    times = [each["predicted_ms"] for each in found]
    assert times == sorted(times, reverse=True)
    assert {each["agent_id"] for each in found} == SIZES.keys()
    for each in found:
        assert each["predicted_records"] >= each["snapshots"]
        assert each["predicted_bytes"] > each["snapshot_bytes"]
    by_bytes = [each["agent_id"] for each in json.loads(run("--sort", "bytes", "--json").stdout)]
    assert by_bytes[0] == "large"
    assert by_bytes[-1] == "small"
    shown = run("--sort", "rto")
    assert "RTO_MS" in shown.stdout.splitlines()[0]
    assert "all at once" in shown.stderr
    assert "RTO_MS" not in run("--sort", "version").stdout


def test_a_compactor_keeps_to_a_budget(fleet: Stage, hw: Client, config: Config) -> None:
    """With a budget of five records no chain is predicted to take longer, whatever is written."""
    rates = Rates(fixed_s=0.001, record_s=0.001, byte_s=1e-12, tail_record_s=0.0)
    with compacting(config, strategy=Budget(rto_ms=6.1, rates=rates)):
        for number in range(12):
            _fill(hw, "middle", "y" * (100 + number))
            fleet.await_end(partition_of(b"middle", fleet.partitions))
            entry = fleet.entry("middle")
            assert entry is not None
            assert rates.seconds(Reading.of(entry.snapshots)) <= 0.0061
    assert hw.get("middle").state.data["text"] == "y" * 111


def test_a_compactor_measures_its_rates(fleet: Stage, config: Config) -> None:
    """Rates for the budget are those of recoveries from where the compactor runs."""
    rates = measured_rates(config)
    assert rates != TYPICAL
    assert 0 < rates.seconds(Reading(records=1, size_bytes=1000)) < 5
