"""Maps the errors of SQLAlchemy and of the drivers below it to Headwater's."""

from __future__ import annotations

from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from headwater.errors import (
    ConfigError,
    CorruptData,
    HeadwaterError,
    TerminalError,
    Unavailable,
)

_EXTRAS = {"psycopg": "postgres"}

# Classes of SQLSTATE, as in the appendix "PostgreSQL Error Codes" of its manual.
_WRONG = ("0P", "28", "3D", "3F", "42")  # role, authorization, database, schema, access and names
_BUSY = ("08", "25", "40", "53", "55", "57", "58")  # connection, rollback, resources, shutdown

_SQLITE_WRONG = ("SQLITE_AUTH", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")
_SQLITE_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
# libpq tells a refused login in words alone; these are the server's untranslated ones.
_LOGIN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "not permitted")


def to_headwater(error: SQLAlchemyError | ModuleNotFoundError, doing: str) -> HeadwaterError:
    """The Headwater error for ``error``, met while ``doing`` something."""
    if isinstance(error, ModuleNotFoundError):
        extra = _EXTRAS.get(error.name or "")
        how = f"pip install 'headwater[{extra}]'" if extra else f"pip install {error.name}"
        return ConfigError(f"{doing}: the package {error.name} is missing: {how}")
    if isinstance(error, ArgumentError | NoSuchModuleError):
        return ConfigError(f"{doing}: {error}")
    cause = getattr(error, "orig", None) or error
    text = f"{doing}: {str(cause).strip()}"
    kind = _kind(error, cause)
    if kind is ConfigError:
        return ConfigError(f"{text}; check the address, the credentials and the access rights")
    if kind is Unavailable:
        return Unavailable(f"{text}; the call can be made again")
    if kind is CorruptData:
        return CorruptData(f"{text}; the database file is damaged", "database")
    return TerminalError(text)


def _kind(error: SQLAlchemyError, cause: BaseException) -> type[HeadwaterError]:
    sqlite = getattr(cause, "sqlite_errorname", None) or ""
    state = getattr(cause, "sqlstate", None) or ""
    if sqlite.startswith(_SQLITE_WRONG) or state.startswith(_WRONG):
        return ConfigError
    if sqlite.startswith(_SQLITE_CORRUPT):
        return CorruptData
    if isinstance(error, OperationalError) and not state and any(w in str(cause) for w in _LOGIN):
        return ConfigError
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or state.startswith(_BUSY) or isinstance(error, OperationalError | PoolTimeout):
        return Unavailable
    return TerminalError
