"""What databases raise, and what becomes of it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc

from headwater import (
    ConfigError,
    CorruptData,
    HeadwaterError,
    TerminalError,
    Unavailable,
)
from headwater.tiers import open_tier
from headwater.tiers.database_errors import to_headwater


class Told(psycopg.OperationalError):
    """What a server says."""


def told(sqlstate: str | None, text: str = "") -> exc.OperationalError:
    """A server's error with a code."""
    error = Told(text)
    error.sqlstate = sqlstate
    return exc.OperationalError("select", None, error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (told("28P01"), ConfigError),
        (told("42501"), ConfigError),
        (told("3D000"), ConfigError),
        (told(None, 'FATAL:  password authentication failed for user "a"'), ConfigError),
        (told(None, 'FATAL:  database "a" does not exist'), ConfigError),
        (told(None, "Connection refused"), Unavailable),
        (told("40001"), Unavailable),
        (told("53100"), Unavailable),
        (told("57P01"), Unavailable),
        (exc.TimeoutError("the pool is empty"), Unavailable),
        (exc.NoSuchModuleError("nonsense"), ConfigError),
        (exc.ArgumentError("nonsense"), ConfigError),
        (exc.ProgrammingError("select", None, psycopg.ProgrammingError("a bug")), TerminalError),
        (exc.InvalidRequestError("a bug"), TerminalError),
    ],
)
def test_mapping(error: exc.SQLAlchemyError, kind: type[HeadwaterError]) -> None:
    """Each error becomes what the caller can act on."""
    mapped = to_headwater(error, "saving 'a'")
    assert type(mapped) is kind
    assert str(mapped).startswith("saving 'a': ")


def test_a_damaged_file(tmp_path: Path) -> None:
    """A file that is no database is corrupt, and no configuration error."""
    (tmp_path / "a.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(CorruptData, match="file is not a database"):
        open_tier(f"sqlite:///{tmp_path}/a.db")


def test_a_busy_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that somebody else holds is waited for, and then unavailable."""
    monkeypatch.setattr("headwater.tiers.database._BUSY_S", 0.05)
    with open_tier(f"sqlite:///{tmp_path}/a.db") as tier:
        tier.save("a", b"1")
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as other:
            other.execute("begin exclusive")
            with pytest.raises(Unavailable, match=r"saving 'a' to sqlite.*locked"):
                tier.save("a", b"2")
            other.rollback()
        assert tier.load("a") == b"1"
