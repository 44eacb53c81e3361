"""Which node would take an agent over: rendezvous hashing, so that everybody who knows the nodes
knows it without asking, and few agents change their place when a node comes or goes.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def weight(agent_id: str, node_id: str) -> int:
    """How much a node is an agent's: the same everywhere, and evenly spread."""
    digest = blake2b(b"\0".join((agent_id.encode(), node_id.encode())), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def rank(agent_id: str, node_ids: Iterable[str]) -> list[str]:
    """The nodes, first the one that keeps the agent's warm replica."""
    return sorted(node_ids, key=lambda node_id: (weight(agent_id, node_id), node_id), reverse=True)


def first(agent_id: str, node_ids: Iterable[str]) -> str | None:
    """The node that keeps the agent's warm replica; None where there are no nodes."""
    return max(node_ids, key=lambda node_id: (weight(agent_id, node_id), node_id), default=None)
