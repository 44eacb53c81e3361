"""Values as rows of one table, in any database that SQLAlchemy knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from headwater.clock import wall_ms
from headwater.errors import ConfigError, Unavailable
from headwater.tiers.database_errors import to_headwater
from headwater.tiers.keys import MAX_KEY_BYTES
from headwater.tiers.store import Entry

_TABLE = "headwater_values"
_PAGE = 1000
_BUSY_S = 30
#: How often two first saves of one key may meet before one of them gives up.
_TRIES = 5


class DatabaseStore:
    """One table; a save is one transaction."""

    def __init__(self, url: str) -> None:
        address, name = _parse(url)
        self.name = f"{address.render_as_string(hide_password=True)}, table {name}"
        self._table = _table(name)
        busy = {"timeout": _BUSY_S} if address.get_backend_name() == "sqlite" else {}
        with mapped(f"opening {self.name}"):
            self._engine = sa.create_engine(
                address, connect_args=busy, pool_pre_ping=True, hide_parameters=True
            )
        try:
            with mapped(f"opening {self.name}"):
                self._make_table()
        except BaseException:
            self._engine.dispose()
            raise

    def put(self, key: str, sealed: bytes) -> None:
        """Change the row, or make it: every database can, and none can do both in the same way."""
        row = {"value": sealed, "size": len(sealed), "saved_at": wall_ms()}
        change = self._table.update().where(self._table.c.key == key).values(row)
        insert = self._table.insert().values(row | {"key": key})
        with mapped(f"saving {key!r} to {self.name}"):
            for _ in range(_TRIES):
                try:
                    with self._engine.begin() as connection:
                        if connection.execute(change).rowcount == 0:
                            connection.execute(insert)
                        return
                except IntegrityError:
                    continue  # somebody else has made the row meanwhile
        raise Unavailable(f"{self.name}: others save and delete {key!r} all the time; try again")

    def get(self, key: str) -> bytes | None:
        """One query by primary key."""
        query = sa.select(self._table.c.value).where(self._table.c.key == key)
        with mapped(f"loading {key!r} from {self.name}"), self._engine.connect() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else bytes(value)

    def remove(self, key: str) -> None:
        """One row less."""
        with mapped(f"deleting {key!r} from {self.name}"), self._engine.begin() as connection:
            connection.execute(self._table.delete().where(self._table.c.key == key))

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Pages in the order of the primary key; no transaction is open between them."""
        keys = self._table.c
        after = keys.key >= prefix
        while page := self._page(after):
            for row in page:
                # In key order, those with a prefix stand together, and it stands before them.
                if not row.key.startswith(prefix):
                    return
                yield Entry(key=row.key, size_bytes=row.size, saved_at_ms=row.saved_at)
            after = keys.key > page[-1].key

    def _page(self, condition: sa.ColumnElement[bool]) -> list[sa.Row[tuple[str, int, int]]]:
        keys = self._table.c
        query = sa.select(keys.key, keys.size, keys.saved_at).where(condition)
        with mapped(f"listing {self.name}"), self._engine.connect() as connection:
            return list(connection.execute(query.order_by(keys.key).limit(_PAGE)))

    def sweep(self, older_than: timedelta) -> int:
        """A database drops unfinished transactions by itself."""
        return 0

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()

    def _make_table(self) -> None:
        try:
            self._table.create(self._engine, checkfirst=True)
        except SQLAlchemyError:
            # Somebody else may have made it between the look and the making.
            if not sa.inspect(self._engine).has_table(self._table.name):
                raise


def _table(name: str) -> sa.Table:
    # Keys are compared as bytes, not as a language sorts them: SQLite's own way, here said to
    # PostgreSQL.
    text = sa.String(MAX_KEY_BYTES)
    key = text.with_variant(sa.String(MAX_KEY_BYTES, collation="C"), "postgresql")
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("key", key, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("saved_at", sa.BigInteger, nullable=False),
    )


def _parse(url: str) -> tuple[URL, str]:
    """Where to connect, and the table."""
    try:
        address = sa.make_url(url)
    except ArgumentError as error:
        # Its text may hold a password.
        raise ConfigError(
            "this is no address of a database: write sqlite:///path or "
            "postgresql://user:password@host/name"
        ) from error
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise ConfigError("a SQLite database in memory is gone at once; use memory:NAME instead")
    table = address.query.get("table", _TABLE)
    if not isinstance(table, str) or not table.isidentifier():
        raise ConfigError(f"{table!r} cannot be the name of a table")
    return address.difference_update_query(["table"]), table


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Raises what SQLAlchemy raises in the block as Headwater's errors."""
    try:
        yield
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise to_headwater(error, doing) from error
