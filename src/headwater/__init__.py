"""Headwater: durable, self-recovering state for AI agents on Apache Kafka."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.agent.draft import ACKNOWLEDGED, STRONG
    from headwater.agent.parts import Settled
    from headwater.agent.restore import Restored
    from headwater.agent.session import Session
    from headwater.agent.takeover import Opened
    from headwater.agent.unclaimed import UnclaimedSession
    from headwater.aio import AsyncClient, AsyncSession
    from headwater.client import Client
    from headwater.config import Config
    from headwater.connection import Connection, connect
    from headwater.errors import (
        AgentExists,
        AgentNotFound,
        AgentOwned,
        ChangeRejected,
        ChangesDropped,
        ConfigError,
        Conflict,
        CorruptData,
        DecompressionBomb,
        DrillNotHeld,
        Fenced,
        ForkedProcess,
        HeadwaterError,
        InDoubt,
        InvalidState,
        KeyNotFound,
        LocalKafkaError,
        NotEmpty,
        PointNotFound,
        RetryableError,
        SchemaTooNew,
        SessionClosed,
        StateTooNew,
        TerminalError,
        TooLarge,
        TopicMismatch,
        Unavailable,
        UndecodableRecord,
        Unprovable,
        UnsupportedValue,
        UpgradeFailed,
    )
    from headwater.fleet.records import Route
    from headwater.keeping import Emergency
    from headwater.log.checkpoints import Checkpoint
    from headwater.log.notes import CheckpointType
    from headwater.mending import Reconstructed, Repaired
    from headwater.migrations import Migrations
    from headwater.node.hosted import DONE, HostedAgent
    from headwater.recovery import Failed, Recovered
    from headwater.recovery.derive import Dependencies
    from headwater.recovery.layers import Attempt
    from headwater.recovery.listing import SnapshotInfo
    from headwater.recovery.predict import FleetPrediction, Prediction
    from headwater.recovery.rehearse import RecordedEvent, Rehearsed
    from headwater.recovery.travel import Moment
    from headwater.signals import checkpoint_on_signals
    from headwater.state.compare import Difference
    from headwater.state.draft import plain
    from headwater.state.model import AgentState

__all__ = [
    "ACKNOWLEDGED",
    "DONE",
    "STRONG",
    "AgentExists",
    "AgentNotFound",
    "AgentOwned",
    "AgentState",
    "AsyncClient",
    "AsyncSession",
    "Attempt",
    "ChangeRejected",
    "ChangesDropped",
    "Checkpoint",
    "CheckpointType",
    "Client",
    "Config",
    "ConfigError",
    "Conflict",
    "Connection",
    "CorruptData",
    "DecompressionBomb",
    "Dependencies",
    "Difference",
    "DrillNotHeld",
    "Emergency",
    "Failed",
    "Fenced",
    "FleetPrediction",
    "ForkedProcess",
    "HeadwaterError",
    "HostedAgent",
    "InDoubt",
    "InvalidState",
    "KeyNotFound",
    "LocalKafkaError",
    "Migrations",
    "Moment",
    "NotEmpty",
    "Opened",
    "PointNotFound",
    "Prediction",
    "Reconstructed",
    "RecordedEvent",
    "Recovered",
    "Rehearsed",
    "Repaired",
    "Restored",
    "RetryableError",
    "Route",
    "SchemaTooNew",
    "Session",
    "SessionClosed",
    "Settled",
    "SnapshotInfo",
    "StateTooNew",
    "TerminalError",
    "TooLarge",
    "TopicMismatch",
    "Unavailable",
    "UnclaimedSession",
    "UndecodableRecord",
    "Unprovable",
    "UnsupportedValue",
    "UpgradeFailed",
    "checkpoint_on_signals",
    "connect",
    "plain",
]

_HOMES = {
    "ACKNOWLEDGED": "headwater.agent.draft",
    "STRONG": "headwater.agent.draft",
    "Settled": "headwater.agent.parts",
    "Restored": "headwater.agent.restore",
    "Session": "headwater.agent.session",
    "Opened": "headwater.agent.takeover",
    "UnclaimedSession": "headwater.agent.unclaimed",
    "AsyncClient": "headwater.aio",
    "AsyncSession": "headwater.aio",
    "Client": "headwater.client",
    "Config": "headwater.config",
    "Connection": "headwater.connection",
    "connect": "headwater.connection",
    "AgentExists": "headwater.errors",
    "AgentNotFound": "headwater.errors",
    "AgentOwned": "headwater.errors",
    "ChangeRejected": "headwater.errors",
    "ChangesDropped": "headwater.errors",
    "ConfigError": "headwater.errors",
    "Conflict": "headwater.errors",
    "CorruptData": "headwater.errors",
    "DecompressionBomb": "headwater.errors",
    "DrillNotHeld": "headwater.errors",
    "Fenced": "headwater.errors",
    "ForkedProcess": "headwater.errors",
    "HeadwaterError": "headwater.errors",
    "InDoubt": "headwater.errors",
    "InvalidState": "headwater.errors",
    "KeyNotFound": "headwater.errors",
    "LocalKafkaError": "headwater.errors",
    "NotEmpty": "headwater.errors",
    "PointNotFound": "headwater.errors",
    "RetryableError": "headwater.errors",
    "SchemaTooNew": "headwater.errors",
    "SessionClosed": "headwater.errors",
    "StateTooNew": "headwater.errors",
    "TerminalError": "headwater.errors",
    "TooLarge": "headwater.errors",
    "TopicMismatch": "headwater.errors",
    "Unavailable": "headwater.errors",
    "UndecodableRecord": "headwater.errors",
    "Unprovable": "headwater.errors",
    "UnsupportedValue": "headwater.errors",
    "UpgradeFailed": "headwater.errors",
    "Route": "headwater.fleet.records",
    "Emergency": "headwater.keeping",
    "Checkpoint": "headwater.log.checkpoints",
    "CheckpointType": "headwater.log.notes",
    "Reconstructed": "headwater.mending",
    "Repaired": "headwater.mending",
    "Migrations": "headwater.migrations",
    "DONE": "headwater.node.hosted",
    "HostedAgent": "headwater.node.hosted",
    "Failed": "headwater.recovery",
    "Recovered": "headwater.recovery",
    "Dependencies": "headwater.recovery.derive",
    "Attempt": "headwater.recovery.layers",
    "SnapshotInfo": "headwater.recovery.listing",
    "FleetPrediction": "headwater.recovery.predict",
    "Prediction": "headwater.recovery.predict",
    "RecordedEvent": "headwater.recovery.rehearse",
    "Rehearsed": "headwater.recovery.rehearse",
    "Moment": "headwater.recovery.travel",
    "checkpoint_on_signals": "headwater.signals",
    "Difference": "headwater.state.compare",
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
