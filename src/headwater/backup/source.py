"""Backups and replicas as places where a recovery looks for proofs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from headwater.backup.archive import Archive
from headwater.backup.format import SNAPSHOTS
from headwater.compression import Codec, compress, decompress
from headwater.config import Config
from headwater.errors import CorruptData, KeyNotFound
from headwater.log.chain import partition_of
from headwater.log.sealing import decode_snapshot, is_chunk_key
from headwater.log.snapshots import PROOF_ERRORS, Snapshot
from headwater.recovery.layers import BACKUP, REPLICA, Source
from headwater.tiers import Tier, open_tier

_MOST_BYTES = 80 << 20
_LONGEST_KEY = 400


class _Place:
    """A tier that is opened when it is needed first, which may be never."""

    def __init__(self, url: str, config: Config | None) -> None:
        self._url = url
        self._config = config
        self._tier: Tier | None = None
        self._lock = threading.Lock()

    def open(self) -> Tier:
        """The tier. Raises :class:`ConfigError`, :class:`Unavailable`."""
        with self._lock:
            if self._tier is None:
                self._tier = open_tier(self._url, self._config)
            return self._tier

    def close(self) -> None:
        """Give it up."""
        with self._lock:
            if self._tier is not None:
                self._tier.close()
            self._tier = None


class BackupSource(_Place):
    """Finds an agent's snapshots in a backup; all that it ever copied and did not merge away,
    tombstones or not.
    """

    layer = BACKUP

    def find(self, agent_id: str) -> Iterable[Snapshot]:
        """The agent's snapshots. Segments that are corrupt are passed over; where that leaves
        nothing, :class:`CorruptData` is raised.
        """
        archive = Archive(self.open())
        partition = partition_of(agent_id.encode(), archive.manifest().partitions)
        values: dict[int, tuple[bytes, bytes]] = {}
        damage: list[CorruptData] = []
        for name in archive.chain(partition):
            try:
                segment = archive.read(name)
                values.update(_of(agent_id, segment.items, segment.values))
            except CorruptData as error:
                damage.append(error)
        found = list(_decoded(values))
        if damage and not found:
            raise damage[0]
        return found


def _of(agent_id: str, items: Any, read: Any) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    prefix = agent_id.encode() + b"\0"
    wanted = bytearray(i.topic == SNAPSHOTS and i.key.startswith(prefix) for i in items)
    for item, value in read(wanted.__getitem__) if any(wanted) else ():
        if value is not None:
            yield item.offset, (item.key, value)


def _decoded(values: dict[int, tuple[bytes, bytes]]) -> Iterator[Snapshot]:
    def chunk_at(offset: int) -> bytes | None:
        return values[offset][1] if offset in values else None

    for key, value in values.values():
        if is_chunk_key(key):
            continue
        try:
            yield decode_snapshot(value, chunk_at)
        except PROOF_ERRORS:
            continue  # the others of the agent may do


class ReplicaSource(_Place):
    """The newest full snapshot of each agent, kept under the agent's own key."""

    layer = REPLICA

    def find(self, agent_id: str) -> Iterable[Snapshot]:
        """The snapshot, if there is one."""
        try:
            return [decode_replica(self.open().load(replica_key(agent_id)))]
        except KeyNotFound:
            return []


def replica_key(agent_id: str) -> str:
    """The key of an agent's replica."""
    quoted = quote(agent_id, safe="")
    if len(quoted) > _LONGEST_KEY:
        quoted = "~" + sha256(agent_id.encode()).hexdigest()
    return f"replica/{quoted}"


class _Replica(msgspec.Struct, frozen=True):
    size: int
    snapshot: bytes


def encode_replica(snapshot: Snapshot) -> bytes:
    """A snapshot by itself, whatever its size."""
    plain = msgspec.msgpack.encode(snapshot)
    return msgspec.msgpack.encode(_Replica(len(plain), compress(plain, Codec.LZ4)))


def decode_replica(value: bytes) -> Snapshot:
    """The snapshot of :func:`encode_replica`. Raises :class:`CorruptData`."""
    try:
        replica = msgspec.msgpack.decode(value, type=_Replica)
        plain = decompress(replica.snapshot, Codec.LZ4, replica.size, _MOST_BYTES)
        return msgspec.msgpack.decode(plain, type=Snapshot)
    except msgspec.DecodeError as error:
        raise CorruptData(f"a replica cannot be read: {error}", "replica") from error


def sources_of(config: Config) -> list[Source]:
    """What the configuration names, in the order in which it is asked; nothing is opened yet."""
    found: list[Source] = []
    if config.replica is not None:
        found.append(ReplicaSource(config.replica, config))
    if config.backup is not None:
        found.append(BackupSource(config.backup, config))
    return found
