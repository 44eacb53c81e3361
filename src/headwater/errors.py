"""Every error that Headwater raises, split by what the caller can do about it.

::

    HeadwaterError
    ├── TerminalError           trying again cannot help
    │   ├── ConfigError             a setting is wrong, or cluster and settings disagree
    │   │   └── TopicMismatch           a topic is missing or not as it must be
    │   ├── UnsupportedValue        a value that no state can hold (also a TypeError)
    │   ├── TooLarge                a state or a change over the size limit
    │   ├── ChangeRejected          a change that cannot be applied to the state it was made for
    │   ├── InvalidState            a state that fails its validation; names the check
    │   │   └── CorruptData             stored bytes that are not those that were written
    │   │       └── DecompressionBomb       compressed bytes that grow beyond what they declare
    │   ├── Fenced                  another process owns the agent now
    │   ├── AgentNotFound           no such agent in the log
    │   ├── PointNotFound           no such version, moment, snapshot or checkpoint of an agent
    │   ├── KeyNotFound             a storage tier holds nothing under that key
    │   ├── AgentExists             a new agent was to be made, and there is one of that name
    │   ├── Unprovable              nothing in the log proves a state of this agent
    │   ├── UndecodableRecord       bytes that no known schema can read
    │   ├── SchemaTooNew            a record written by a newer version of Headwater
    │   ├── StateTooNew             a state whose version is newer than the code's
    │   ├── UpgradeFailed           a registered upgrade of a state raised, or made no state
    │   ├── NotEmpty                a cluster that was to be filled holds agents already
    │   ├── SessionClosed           the session or connection was closed before
    │   ├── ForkedProcess           a connection used in a child of the process that made it
    │   ├── DrillNotHeld            what a drill needs could not be had; nothing was brought about
    │   └── LocalKafkaError         the local Kafka could not be had, started or stopped
    └── RetryableError          the same call may succeed later
        ├── Conflict                another writer came first; carries the newer state
        ├── AgentOwned              somebody else owns the agent for now
        ├── InDoubt                 an earlier change is undecided until the log has been read
        ├── ChangesDropped          changes that the log turned out not to hold
        └── Unavailable             the brokers did not answer in time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PathItem = str | int


def format_path(path: Sequence[PathItem]) -> str:
    """``data.plan[3]`` from ``("data", "plan", 3)``; ``state`` for the root."""
    text = ""
    for item in path:
        text += f"[{item}]" if isinstance(item, int) else f".{item}" if text else item
    return text or "state"


class HeadwaterError(Exception):
    """The base of every error that Headwater raises."""


class TerminalError(HeadwaterError):
    """Trying again cannot help; something has to change first."""


class RetryableError(HeadwaterError):
    """The same call may succeed later."""


class ConfigError(TerminalError):
    """A setting is wrong, or the cluster and the settings disagree."""


class TopicMismatch(ConfigError):
    """A topic is missing, or its partitions, replication or settings are not as they must be."""


class UnsupportedValue(TerminalError, TypeError):
    """A value of a type that no state can hold; ``path`` says where."""

    def __init__(self, message: str, path: Sequence[PathItem] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class TooLarge(TerminalError):
    """A state or a change over the size limit; ``path`` names its largest part."""

    def __init__(
        self, what: str, size_bytes: int, limit_bytes: int, path: Sequence[PathItem] = ()
    ) -> None:
        where = f", most of it at {format_path(path)}" if path else ""
        super().__init__(
            f"{what} has {size_bytes:,} bytes, over the limit of {limit_bytes:,}{where}; "
            "keep large values in an object store and their address in the state"
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        self.path = tuple(path)


class ChangeRejected(TerminalError):
    """A change that cannot be applied to the state that it was made for."""


class InvalidState(TerminalError):
    """A state or snapshot that fails validation; ``check`` names the check."""

    def __init__(self, message: str, check: str) -> None:
        super().__init__(message)
        self.check = check


class CorruptData(InvalidState):
    """Stored bytes that are not those that were written; ``check`` names what showed it."""


class DecompressionBomb(CorruptData):
    """Compressed bytes that grow beyond the size that they declare, or beyond the limit."""


class Fenced(TerminalError):
    """Another process owns the agent now; nothing more from this session counts."""


class AgentNotFound(TerminalError):
    """The log holds no such agent, or it was deleted."""


class PointNotFound(TerminalError):
    """The agent has no such version, moment, snapshot or checkpoint, or has it no longer."""


class KeyNotFound(TerminalError):
    """A storage tier holds nothing under that key."""


class AgentExists(TerminalError):
    """A new agent was to be made, and there is one of that name."""


class Unprovable(TerminalError):
    """Nothing in the log proves a state of this agent; ``tried`` lists what was refused and why."""

    def __init__(self, message: str, tried: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


class UndecodableRecord(TerminalError):
    """Bytes that no known schema can read."""


class SchemaTooNew(TerminalError):
    """A record written by a newer version of Headwater; upgrade this one to read it."""


class StateTooNew(TerminalError):
    """A state whose version is newer than the newest that this code knows; it is untouched."""


class UpgradeFailed(TerminalError):
    """A registered upgrade of a state raised, or made what is no state; nothing was published.

    ``from_version`` is the version that it was to lead from; the cause is ``__cause__``.
    """

    def __init__(self, agent_id: str, from_version: int, name: str, cause: BaseException) -> None:
        super().__init__(
            f"agent {agent_id!r}: the upgrade {name} of its state from version {from_version} to "
            f"{from_version + 1} failed, nothing was changed: {type(cause).__name__}: {cause}"
        )
        self.agent_id = agent_id
        self.from_version = from_version


class NotEmpty(TerminalError):
    """A cluster that was to be filled from a backup holds agents already."""


class SessionClosed(TerminalError):
    """The session or connection was closed before this call."""


class ForkedProcess(TerminalError):
    """A connection used in a child of the process that made it; connect again there."""


class DrillNotHeld(TerminalError):
    """What a drill needs could not be had, so no failure was brought about."""


class LocalKafkaError(TerminalError):
    """The local Kafka could not be had, started or stopped."""


class Conflict(RetryableError):
    """Another writer's change came first; ``newer`` is the agent as the log has it now."""

    def __init__(self, message: str, newer: Any = None) -> None:
        super().__init__(message)
        self.newer = newer


class AgentOwned(RetryableError):
    """Somebody else owns the agent for now; ``epoch`` is the owner's, 0 where it is not known."""

    def __init__(self, message: str, epoch: int = 0) -> None:
        super().__init__(message)
        self.epoch = epoch


class InDoubt(RetryableError):
    """An earlier change is undecided until the log has been read."""


class ChangesDropped(RetryableError):
    """Changes that were sent and turned out not to be in the log; make them again.

    ``versions`` are those that they would have made.
    """

    def __init__(self, message: str, versions: Sequence[int]) -> None:
        super().__init__(message)
        self.versions = tuple(versions)


class Unavailable(RetryableError):
    """The brokers did not answer in time."""
