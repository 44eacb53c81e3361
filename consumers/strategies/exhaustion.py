"""RESOURCE_EXHAUSTION: a node sheds its heaviest agents, and gets no new ones, before it dies."""

from __future__ import annotations

from headwater.fleet.records import FailureEvent, FailureType, RecoveryItem, Resources

from .context import Context
from .heaviest import Shed, heaviest
from .relief import give_away, throttle
from .strategy import Result

_ROUNDS = 4
# What a node has given away shows in its figures a while later.
_CHECK_S = 10.0
_OVER = 0.8
_FILLING = 0.9
# For a node that nobody can relieve: so many steps of each agent per second.
_THROTTLED = 1.0
_THROTTLED_S = 60.0


class Exhaustion:
    """While its recovery is under way, no node is given agents that is running out of something
    (:meth:`~.world.World.exhausted`). Its heaviest agents move away until it is well again;
    where nobody can take them, what it does is slowed down.
    """

    name = "resource-exhaustion"
    priority = 100

    def __init__(self, shed: Shed | None = None, *, check_s: float = _CHECK_S) -> None:
        self._shed = shed or Shed()
        self._check_s = check_s

    def can_handle(self, failure_type: FailureType) -> bool:
        """For nodes that run out of memory, disk or file descriptors."""
        return failure_type is FailureType.RESOURCE_EXHAUSTION

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Shed; look; shed more."""
        node_id = failure.component.removeprefix("node:")
        resource = str(failure.context.get("resource", "memory"))
        context.note("node.closed", f"node {node_id} gets no agents while it lacks {resource}")
        moved: dict[str, RecoveryItem] = {}
        for turn in range(1, _ROUNDS + 1):
            if is_well(context, node_id, resource, failure):
                return self._well(node_id, resource, moved)
            life = context.world.life(node_id)
            share = share_of(context, node_id, resource, failure)
            if is_filling(failure):
                # How much that is says nothing yet; how fast it grows says that it must be less.
                share = max(share, _FILLING)
            chosen = heaviest(life.agents.values() if life else (), share, self._shed)
            name = f"shed.{turn}"
            if not chosen and not context.begun(name):
                break
            items = give_away(context, name, node_id, chosen)
            moved |= {item.agent_id: item for item in items}
            if not any(item.ok for item in items):
                break
            context.wait_for(lambda: is_well(context, node_id, resource, failure), self._check_s)
        return self._slow_down(context, node_id, resource, failure, moved)

    def _well(self, node_id: str, resource: str, moved: dict[str, RecoveryItem]) -> Result:
        went = sum(item.ok for item in moved.values())
        return Result(
            success=True,
            message=f"node {node_id} has {resource} again; {went} agents went elsewhere",
            items=tuple(moved.values()),
        )

    def _slow_down(
        self,
        context: Context,
        node_id: str,
        resource: str,
        failure: FailureEvent,
        moved: dict[str, RecoveryItem],
    ) -> Result:
        def well() -> bool:
            return is_well(context, node_id, resource, failure)

        problem = throttle(context, "throttle", [node_id], _THROTTLED)
        context.wait_for(well, _THROTTLED_S)
        throttle(context, "unthrottle", [node_id], 0.0)
        if well():
            return self._well(node_id, resource, moved)
        return Result(
            success=False,
            message=f"node {node_id} still lacks {resource}; slowing it down did not help",
            error=problem
            or next((i.error for i in moved.values() if not i.ok), "")
            or f"{resource} is at {share_of(context, node_id, resource, failure):.0%}",
            items=tuple(moved.values()),
        )


def is_filling(failure: FailureEvent) -> bool:
    """Whether a node will be full soon, rather than being so."""
    return failure.context.get("full_in_s") is not None


def is_well(context: Context, node_id: str, resource: str, failure: FailureEvent) -> bool:
    """Whether a node has enough again: by its own word, or, where its pace was what counted, by
    the detector's.
    """
    if context.cleared or context.world.life(node_id) is None:
        return True
    return not is_filling(failure) and share_of(context, node_id, resource, failure) < _OVER


def share_of(context: Context, node_id: str, resource: str, failure: FailureEvent) -> float:
    """The share of a resource that a node uses, as it told last; what the failure says where it
    has not told since.
    """
    life = context.world.life(node_id)
    if life is None:
        return 0.0  # gone: another failure's matter
    found = None if life.resources is None else used(life.resources, resource)
    return float(failure.context.get("share", 1.0)) if found is None else found


def used(r: Resources, resource: str) -> float | None:
    """The share of a resource that is in use; None for one that heartbeats do not tell."""
    if resource == "memory":
        return r.memory_bytes / r.memory_limit_bytes if r.memory_limit_bytes > 0 else 0.0
    if resource == "disk":
        return 1 - r.disk_free_bytes / r.disk_total_bytes if r.disk_total_bytes > 0 else 0.0
    if resource in ("files", "open_files", "file descriptors"):
        return r.open_files / r.open_files_limit if r.open_files_limit > 0 else 0.0
    return None
