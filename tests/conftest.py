"""What all tests share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile("headwater", deadline=None, print_blob=True)
settings.load_profile("headwater")


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
