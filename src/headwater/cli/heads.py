"""An agent's head, as commands print it."""

from __future__ import annotations

from typing import Any

from headwater.cli.output import local_time, utc
from headwater.log.fold import Head


def head_json(head: Head) -> dict[str, Any]:
    """A head as JSON; hashes in hex, ``owner`` null while nobody owns the agent."""
    return {
        "agent_id": head.agent_id,
        "version": head.version,
        "epoch": head.epoch,
        "owner": head.node_id if head.owned else None,
        "session_id": head.session_id,
        "request_id": head.request_id,
        "sequence": head.sequence,
        "updated_at": utc(head.updated_at),
        "node_id": head.node_id,
        "lease_ms": head.lease_ms,
        "hash": head.hash.hex(),
    }


def head_fields(head: Head) -> list[tuple[str, object]]:
    """A head in lines for people."""
    owner = f"{head.node_id} (lease {head.lease_ms} ms)" if head.owned else "-"
    return [
        ("agent", head.agent_id),
        ("version", head.version),
        ("epoch", head.epoch),
        ("owner", owner),
        ("session", head.session_id),
        ("request", head.request_id or "-"),
        ("sequence", head.sequence),
        ("updated", f"{local_time(head.updated_at)} by {head.node_id}"),
        ("head", head.hash.hex()),
    ]
