"""What a broker's log says about why it would not start, in words that say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_SHOWN_LINES = 6
_NOISE = r"^\s+(at |\.\.\. \d+ more)|^WARNING:| (WARN|INFO) "


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a broker ended; ``port_taken`` means that another port may work."""

    reason: str
    lines: tuple[str, ...] = ()
    port_taken: bool = False


_KNOWN = (
    (
        r"Address already in use|java\.net\.BindException",
        "a port it was to listen on was taken by another process",
    ),
    (
        r"Failed to acquire lock on file|OverlappingFileLockException",
        "another Kafka is running on its data directory; stop that one first "
        "(headwater kafka status, headwater kafka stop), or use another --data-dir",
    ),
    (r"No space left on device|Disk quota exceeded", "its disk is full; free some space"),
    (
        r"Read-only file system|AccessDeniedException|Permission denied",
        "it may not write to its data directory; check the permissions, or use another --data-dir",
    ),
    (
        r"InconsistentClusterIdException|doesn't match stored clusterId|Invalid cluster\.id"
        r"|Stored node id|unexpected.*cluster",
        "its data directory belongs to another cluster; use another --data-dir",
    ),
    (
        r"Unsupported feature|metadata\.version.*not support|UnsupportedVersionException"
        r"|No MetadataVersion with",
        "its data was written by another version of Kafka; use another --data-dir",
    ),
    (
        r"CorruptRecordException|KafkaStorageException|InconsistentBrokerMetadataException"
        r"|No `?meta\.properties|(node|cluster) ID not found|No FeatureLevelRecord|not formatted"
        r"|log director\w+ .*(failed|offline)",
        "its data is damaged; restore the directory, or start on another --data-dir",
    ),
    (r"ConfigException", "a property was not accepted; look at the properties that you gave"),
    (
        r"UnsupportedClassVersionError",
        "the Java that it was given is too old; set HEADWATER_JAVA to a newer one",
    ),
    (
        r"OutOfMemoryError|Could not reserve enough space|insufficient memory"
        r"|Cannot allocate memory",
        "there was not enough memory; free some, or lower its heap (HEADWATER_KAFKA_HEAP_MB)",
    ),
    (
        r"(maximum|minimum|Initial|Too small) .*heap|Invalid maximum heap size",
        "Java cannot have a heap of that size (heap_mb, HEADWATER_KAFKA_HEAP_MB)",
    ),
    (
        r"Unrecognized (VM )?option|Could not create the Java Virtual Machine",
        "the Java that it was given did not accept its flags; set HEADWATER_JAVA to another one",
    ),
)


def diagnose(log: str, exit_status: int | None) -> Diagnosis:
    """The reason in a log; the first known one in the table's order wins."""
    lines = tuple(_telling_lines(log))
    for pattern, reason in _KNOWN:
        if re.search(pattern, log):
            return Diagnosis(
                reason=reason, lines=lines, port_taken=reason.startswith("a port it was")
            )
    if exit_status is not None and exit_status < 0:
        return Diagnosis(reason=f"it was ended by signal {-exit_status}", lines=lines)
    ended = "" if exit_status is None else f" (exit status {exit_status})"
    return Diagnosis(reason=f"its log has no known reason{ended}", lines=lines)


def _telling_lines(log: str) -> list[str]:
    lines = (line.rstrip() for line in log.splitlines())
    return [line for line in lines if line and not re.search(_NOISE, line)][-_SHOWN_LINES:]


def read_tail(path: Path) -> str:
    """The end of a log; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
