"""What a node's heartbeats say beside that it lives; the lease's own thread builds it, quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.clock import Clock, suspended_clock
from headwater.fleet.records import KindReport, PeerReport, Resources
from headwater.node.host import Host
from headwater.node.hosted import Kind
from headwater.node.slot import Slot

_COMPLETE_S = 1.0
# What a node with many agents has to say takes its time, which a lease in danger does not have.
_PATIENCE_S = 2.0
# Of a large node, how far its agents came is told once a second; what befell them at once.
_STEPPED = 100
_KINDLESS: dict[str, Any] = {"kinds": [], "peers": [], "resources": None}


class Reporter:
    """Gives each heartbeat its fields: all agents once a second, and those that changed between."""

    def __init__(self, host: Host, clock: Clock = suspended_clock) -> None:
        self._host = host
        self._clock = clock
        self._next_s = 0.0
        self.address = ""
        self.resources: Resources | None = None
        self.peers: Callable[[], list[PeerReport]] = list

    def __call__(self) -> dict[str, Any]:
        """The fields of the heartbeat that is sent now."""
        host = self._host
        now_s = self._clock()
        patience_s = _PATIENCE_S if host.strained() else 0.0
        complete = now_s >= self._next_s + patience_s
        gone = [host.gone.pop() for _ in range(len(host.gone))]
        said: dict[str, Any] = {
            "mode": host.mode.value,
            "address": self.address,
            "agents_complete": complete,
        }
        if not complete:
            changed = [host.changed.pop() for _ in range(len(host.changed))]
            stepped = [host.stepped.pop() for _ in range(min(_STEPPED, len(host.stepped)))]
            agents = [agent_record(slot) for slot in (*gone, *{*changed, *stepped})]
            return said | {"agents": agents} | _KINDLESS
        # Half a beat early rather than one late.
        self._next_s = now_s + _COMPLETE_S * 0.9
        host.changed.clear()
        host.stepped.clear()
        return said | {
            "agents": [agent_record(slot) for slot in list(host.slots.values())],
            "kinds": [kind_report(kind).to_record() for kind in host.kinds.values()],
            "peers": [peer.to_record() for peer in self.peers()],
            "resources": None if self.resources is None else self.resources.to_record(),
        }


def agent_record(slot: Slot) -> dict[str, Any]:
    """An AgentReport, as Avro has it."""
    epoch, version, size = slot.position()
    return {
        "agent_id": slot.agent_id,
        "kind": slot.kind.name,
        "epoch": epoch,
        "version": version,
        "step": slot.steps,
        "step_started_at": slot.started_at,
        "state": slot.mode.value,
        "restarts": slot.restarts,
        "last_error": slot.last_error,
        "size_bytes": size,
    }


def kind_report(kind: Kind) -> KindReport:
    """What a kind's steps took so far."""
    tally = kind.tally
    return KindReport(
        kind=kind.name,
        deadline_ms=round(kind.deadline_s * 1000),
        transitions=kind.transitions,
        steps=tally.steps,
        errors=tally.errors,
        timeouts=tally.timeouts,
        latency=tally.latency(),
    )
