"""The event that takes on a state by reference to the snapshots which lead to it."""

from __future__ import annotations

import logging

import msgspec

from headwater.errors import PathItem, TooLarge
from headwater.log.origin import Base, Origin, decode_origin, encode_origin
from headwater.log.resolve import Fetch
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import ORIGIN, PROOF_ERRORS, Snapshot
from headwater.recovery.travel import Trip
from headwater.state.model import FIELDS
from headwater.state.patch import SET, Op, encode_patch
from headwater.state.values import heaviest, pack

log = logging.getLogger("headwater.session")

_DEEPEST = 16
"""So many states that refer to states are read one after the other; a deeper one is copied."""


def refer(trip: Trip, fetch: Fetch, limit_bytes: int) -> bytes:
    """The patch of a RESTORE to where ``trip`` led: copy-on-write, the state itself is not in it.

    Only where no snapshots lead there, or those that do refer to others again and again, it holds
    the whole state. Raises :class:`TooLarge` for more than ``limit_bytes``.
    """
    point, head = trip.point, trip.recovered.head
    base, patches, depth = _flat(point.base, point.patches, fetch)
    document = trip.recovered.agent.document
    origin = Origin(
        agent=head.agent_id,
        version=head.version,
        hash=head.hash if point.exact else None,
        state_hash=trip.recovered.state_hash,
        size=len(pack(document)),
        base=base,
        patches=patches,
    )
    patch = encode_origin(origin)
    if depth <= _DEEPEST and len(patch) <= limit_bytes and _leads_there(trip, origin):
        return patch
    ops: list[Op] = [(SET, (name,), document[name]) for name in FIELDS]
    whole = encode_origin(msgspec.structs.replace(origin, base=(), patches=(encode_patch(ops),)))
    if len(whole) > limit_bytes:
        where: tuple[PathItem, ...] = heaviest(document)
        what = f"agent {head.agent_id!r}: version {head.version}, which no snapshots lead to yet,"
        raise TooLarge(what, len(whole), limit_bytes, where)
    return whole


def _leads_there(trip: Trip, origin: Origin) -> bool:
    # Once in a log it must lead there for good, so it is tried before it is written.
    try:
        trip.point.agent.resolve(origin)
    except PROOF_ERRORS as error:
        log.warning("agent %s: its state is copied whole: %s", origin.agent, error)
        return False
    return True


def _flat(
    base: list[Base], patches: list[bytes], fetch: Fetch
) -> tuple[tuple[Base, ...], tuple[bytes, ...], int]:
    """The shortest way, and how many states it refers to one after the other."""
    first = _first(base, fetch)
    if first is not None and first.kind == ORIGIN and len(base) == 1:
        inner = decode_origin(first.payload)
        return _flat(list(inner.base), [*inner.patches, *patches], fetch)
    depth = 1
    while first is not None and first.kind == ORIGIN:
        depth += 1
        first = _first(decode_origin(first.payload).base, fetch)
    return tuple(base), tuple(patches), depth


def _first(base: list[Base] | tuple[Base, ...], fetch: Fetch) -> Snapshot | None:
    if not base:
        return None
    partition = base[0].partition
    value = fetch(partition, base[0].offset)
    if value is None:
        return None
    return decode_snapshot(value, lambda offset: fetch(partition, offset))
