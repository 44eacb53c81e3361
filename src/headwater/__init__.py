"""Headwater: durable, self-recovering state for AI agents on Apache Kafka."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.agent.draft import ACKNOWLEDGED, STRONG
    from headwater.agent.parts import Settled
    from headwater.agent.session import Session
    from headwater.agent.unclaimed import UnclaimedSession
    from headwater.aio import AsyncClient, AsyncSession
    from headwater.client import Client
    from headwater.config import Config
    from headwater.connection import Connection, connect
    from headwater.errors import (
        AgentNotFound,
        AgentOwned,
        ChangeRejected,
        ChangesDropped,
        ConfigError,
        Conflict,
        Fenced,
        ForkedProcess,
        HeadwaterError,
        InDoubt,
        InvalidState,
        LocalKafkaError,
        RetryableError,
        SchemaTooNew,
        SessionClosed,
        TerminalError,
        TooLarge,
        TopicMismatch,
        Unavailable,
        UndecodableRecord,
        Unprovable,
        UnsupportedValue,
    )
    from headwater.recovery import Failed, Recovered
    from headwater.state.draft import plain
    from headwater.state.model import AgentState

__all__ = [
    "ACKNOWLEDGED",
    "STRONG",
    "AgentNotFound",
    "AgentOwned",
    "AgentState",
    "AsyncClient",
    "AsyncSession",
    "ChangeRejected",
    "ChangesDropped",
    "Client",
    "Config",
    "ConfigError",
    "Conflict",
    "Connection",
    "Failed",
    "Fenced",
    "ForkedProcess",
    "HeadwaterError",
    "InDoubt",
    "InvalidState",
    "LocalKafkaError",
    "Recovered",
    "RetryableError",
    "SchemaTooNew",
    "Session",
    "SessionClosed",
    "Settled",
    "TerminalError",
    "TooLarge",
    "TopicMismatch",
    "Unavailable",
    "UnclaimedSession",
    "UndecodableRecord",
    "Unprovable",
    "UnsupportedValue",
    "connect",
    "plain",
]

_HOMES = {
    "ACKNOWLEDGED": "headwater.agent.draft",
    "STRONG": "headwater.agent.draft",
    "Settled": "headwater.agent.parts",
    "Session": "headwater.agent.session",
    "UnclaimedSession": "headwater.agent.unclaimed",
    "AsyncClient": "headwater.aio",
    "AsyncSession": "headwater.aio",
    "Client": "headwater.client",
    "Config": "headwater.config",
    "Connection": "headwater.connection",
    "connect": "headwater.connection",
    "AgentNotFound": "headwater.errors",
    "AgentOwned": "headwater.errors",
    "ChangeRejected": "headwater.errors",
    "ChangesDropped": "headwater.errors",
    "ConfigError": "headwater.errors",
    "Conflict": "headwater.errors",
    "Fenced": "headwater.errors",
    "ForkedProcess": "headwater.errors",
    "HeadwaterError": "headwater.errors",
    "InDoubt": "headwater.errors",
    "InvalidState": "headwater.errors",
    "LocalKafkaError": "headwater.errors",
    "RetryableError": "headwater.errors",
    "SchemaTooNew": "headwater.errors",
    "SessionClosed": "headwater.errors",
    "TerminalError": "headwater.errors",
    "TooLarge": "headwater.errors",
    "TopicMismatch": "headwater.errors",
    "Unavailable": "headwater.errors",
    "UndecodableRecord": "headwater.errors",
    "Unprovable": "headwater.errors",
    "UnsupportedValue": "headwater.errors",
    "Failed": "headwater.recovery",
    "Recovered": "headwater.recovery",
    "plain": "headwater.state.draft",
    "AgentState": "headwater.state.model",
}
"""Where each name is at home: imported when it is first used, so that a command line that only
prints its help does not load Kafka's client."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
