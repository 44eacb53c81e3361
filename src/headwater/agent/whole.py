"""Puts a whole state in place of an agent's own, whatever that is, known or not."""

from __future__ import annotations

from headwater.agent.draft import ACKNOWLEDGED
from headwater.agent.session import Session
from headwater.log.origin import Origin, encode_origin
from headwater.state.model import Document, new_document, state_hash
from headwater.state.patch import apply_patch, decode_patch
from headwater.state.pieces import in_pieces
from headwater.state.values import pack

# What an origin is besides its patches: an agent's id, two hashes, a few numbers.
_ORIGIN_BYTES = 2048


def put_whole(
    session: Session, document: Document, *, agent_id: str, version: int, chain_hash: bytes | None
) -> None:
    """Make ``document``, the state of ``agent_id`` at ``version``, of the session's agent's state.

    By one RESTORE that depends on nothing before it; what is too large for one event follows in
    changes, of which the last sets the status.
    """
    limit = session._parts.config.max_change_bytes - _ORIGIN_BYTES
    first, *more = in_pieces(document, limit)
    begun = document
    if more:
        begun = new_document()
        apply_patch(begun, decode_patch(first))
    origin = Origin(
        agent=agent_id,
        version=version,
        hash=chain_hash,
        state_hash=state_hash(agent_id, begun),
        size=len(pack(document)),
        patches=(first,),
    )
    last = session._dispatch("RESTORE", encode_origin(origin), block=True)
    for patch in more:
        last = session._dispatch("CHANGE", patch, block=True)
    session._body.install(document)
    session.settle(last, ACKNOWLEDGED)
