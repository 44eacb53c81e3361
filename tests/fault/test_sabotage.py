"""The fault tests can fail: with a guarantee switched off, the same scenario breaks a promise.

The third switch, ``no-init-transactions``, is in test_takeover.py.
"""

from __future__ import annotations

import pytest

from headwater.sabotage import NO_LEASE_CHECK, NO_PREV_CHECK
from tests.support.fleet import Fleet
from tests.support.scenarios import AGENT, doubled_records, frozen_owner

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(240)]


def test_doubled_records_count_once(fleet: Fleet) -> None:
    """Records that the log holds twice are in the state once."""
    assert doubled_records(fleet) == []


def test_without_the_prev_check_they_count_twice(fleet: Fleet) -> None:
    """With the prev check switched off the same records are folded in again, and it is seen."""
    wrong = doubled_records(fleet, HEADWATER_TEST_SABOTAGE=NO_PREV_CHECK)
    assert any("stands where" in each for each in wrong), wrong


def test_a_late_change_is_not_acknowledged(fleet: Fleet) -> None:
    """An owner that slept while another took over is fenced, and told of nothing as done."""
    assert frozen_owner(fleet) == []
    assert {agent for agent, _ in fleet.record.fenced} == {AGENT}


def test_without_the_lease_check_it_is(fleet: Fleet) -> None:
    """With the lease check switched off it is told that a change is done which is nowhere."""
    wrong = frozen_owner(fleet, HEADWATER_TEST_SABOTAGE=NO_LEASE_CHECK)
    assert any("lost: frozen/1 was told" in each for each in wrong), wrong
