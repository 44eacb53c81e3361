"""What all tests share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile("headwater", deadline=None, print_blob=True)
settings.load_profile("headwater")


# Nodes with short leases, detectors, brokers that fail over: what others do beside them would be
# taken for a fault.
ALONE = (
    "fault/test_false_alarms", "fault/test_network", "fault/test_node",
    "fault/test_takeover", "integration/node/", "integration/test_cli_up", "integration/test_demo",
    "integration/test_detectors", "integration/test_drills", "integration/test_fleet",
    "integration/test_insights", "integration/test_local_kafka.py", "integration/test_takeover",
    "packaging/test_compose",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are not to run beside others."""
    for item in items:
        where = item.path.relative_to(Path(__file__).parent).as_posix()
        if where.startswith(ALONE):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Commands that run in this process set levels; they are for their own time only."""
    before = {name: logging.getLogger(name).level for name in _ours()}
    yield
    for name in _ours():
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def _ours() -> list[str]:
    return [name for name in logging.root.manager.loggerDict if name.startswith("headwater")]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real, empty PostgreSQL, shared by the whole session."""
    from tests.support.postgres import NoPostgres, postgres

    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres())
        except NoPostgres as error:
            pytest.skip(f"no PostgreSQL can be had: {error}")
        yield url
