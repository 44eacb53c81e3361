"""Takes many agents over at once: what :mod:`headwater.agent.claim` does for one, with one watch
over all owners' heartbeats, all claims on their way together, and each partition read once.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from headwater.agent.claim import DRIFT, NONCE_BYTES, Claim, Claimant, Claimer, owned_by
from headwater.agent.hearing import Hearing, Listener
from headwater.agent.lease import Lease, heartbeat_partition
from headwater.agent.session import Session
from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.errors import AgentNotFound, HeadwaterError, RetryableError
from headwater.log.chain import record_digest
from headwater.log.fold import Head
from headwater.recovery import Recovered, Recovery
from headwater.recovery.bulk import recover_many

_LISTEN_S = 0.01
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one agent: an admitted claim, or why there is none."""

    who: Claimant
    claim: Claim | None = None
    error: HeadwaterError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One agent of many: its session, or why there is none."""

    agent_id: str
    session: Session | None = None
    error: HeadwaterError | None = None


@dataclass(slots=True)
class _Wanted:
    """An agent that is still to be had, as far as its log was read."""

    who: Claimant
    recovered: Recovered

    @property
    def head(self) -> Head:
        return self.recovered.head


@dataclass(frozen=True, slots=True)
class _Probe:
    """A record of one's own among the heartbeats: when it was sent, and where it stands."""

    sent_s: float
    offset: int


class Takeover:
    """One call's worth of claims. ``hearing`` is one that somebody else feeds; None: its own."""

    def __init__(
        self, recovery: Recovery, lease: Lease, claimer: Claimer, hearing: Hearing | None
    ) -> None:
        self._recovery = recovery
        self._lease = lease
        self._claimer = claimer
        self._given = hearing
        self._probes: dict[int, _Probe] = {}

    def run(
        self,
        names: Collection[str],
        whose: Callable[[Recovered], Claimant],
        timeout_s: float,
        replicas: Mapping[str, Recovered],
        *,
        ours: bool = False,
    ) -> Iterator[Taken]:
        """Own the agents in ``names``, each as soon as its owner has given it up or has been silent
        for its lease; ``whose`` says for whom. With ``ours`` those alone that this process owns
        by the log, anew and at once.
        """
        deadline = time.monotonic() + timeout_s
        with ExitStack() as stack:
            hearing, listen = self._ears(stack)
            wanted: dict[str, _Wanted] = {}
            for agent_id, recovered in self._look(names, replicas):
                if isinstance(recovered, HeadwaterError):
                    who = Claimant(agent_id=agent_id, session_id="", request_id=None)
                    yield Taken(who=who, error=recovered)
                elif ours and not self._claimer.is_leftover(recovered.head):
                    why = "it was not given back to this process"
                    yield Taken(who=whose(recovered), error=owned_by(recovered.head, why))
                else:
                    wanted[agent_id] = _Wanted(whose(recovered), recovered)
            looked = time.monotonic()
            while wanted:
                if free := [w for w in wanted.values() if self._is_free(w.head, hearing)]:
                    for taken in self._claim(free):
                        del wanted[taken.who.agent_id]
                        yield taken
                if not wanted:
                    break
                now = time.monotonic()
                if now >= deadline:
                    yield from (_late(w) for w in wanted.values())
                    return
                if now >= looked + _LOOK_S:
                    deque(self._advance(wanted.values()), maxlen=0)
                    looked = time.monotonic()
                listen(_LISTEN_S)

    def _ears(self, stack: ExitStack) -> tuple[Hearing, Callable[[float], None]]:
        if self._given is not None:
            return self._given, time.sleep
        listener = Listener(self._recovery.config, self._lease.clock.now)
        stack.callback(listener.close)
        return listener.hearing, listener.listen

    def _look(
        self, names: Collection[str], replicas: Mapping[str, Recovered]
    ) -> Iterator[tuple[str, Recovered | HeadwaterError]]:
        yield from ((name, replicas[name]) for name in names if name in replicas)
        missing = [name for name in names if name not in replicas]
        if not missing:
            return
        for found in recover_many(self._recovery, missing):
            if isinstance(found, Recovered):
                yield found.agent_id, found
            elif isinstance(found.error, AgentNotFound):
                # A life that begins goes on from the head of the one before it.
                yield found.agent_id, self._recovery.look(found.agent_id)
            else:
                yield found.agent_id, found.error

    def _is_free(self, head: Head, hearing: Hearing) -> bool:
        """Whether a claim may be written: nobody owns the agent, or the owner's lease has run out,
        as a record of one's own proves that was written and read after it.
        """
        if not head.owned or self._claimer.is_leftover(head):
            return True
        out_s = _runs_out_s(head, hearing)
        if self._lease.clock.now() < out_s:
            return False
        partition = heartbeat_partition(head.node_id)
        probe = self._probes.get(partition)
        if probe is None or probe.sent_s < out_s:
            sent_s = self._lease.clock.now()
            probe = _Probe(sent_s, self._lease.send_probe(partition))
            self._probes[partition] = probe
        # Asked in this order: a position that covers the probe covers what came before it.
        reached = hearing.reached(partition, probe.offset)
        return reached and probe.sent_s >= _runs_out_s(head, hearing)

    def _claim(self, free: list[_Wanted]) -> Iterator[Taken]:
        """Claim all of these; those that another process claimed first stay wanted."""
        generation = self._lease.start()
        nonces = {w.who.agent_id: secrets.token_bytes(NONCE_BYTES) for w in free}
        values: dict[str, bytes] = {}
        for w in free:
            encoder = self._claimer.encoder(w.who, w.head.epoch + 1, nonces[w.who.agent_id])
            values[w.who.agent_id] = encoder.claim(wall_ms())
        left = {w.who.agent_id: w for w in free}
        live = self._claimer.live_nonces
        live.update(nonces.values())
        try:
            written: dict[str, int] = {}
            for name, outcome in zip(values, self._send(free, values), strict=True):
                if isinstance(outcome, HeadwaterError):
                    live.discard(nonces[name])
                    yield Taken(who=left.pop(name).who, error=outcome)
                else:
                    written[name] = outcome
            for w, error in self._read_back(list(left.values()), _ends(left.values(), written)):
                name = w.who.agent_id
                del left[name]
                if error is not None or w.head.nonce != nonces[name]:
                    live.discard(nonces[name])
                    if error is not None:
                        yield Taken(who=w.who, error=error)
                    continue
                claim = Claim(
                    recovered=w.recovered,
                    epoch=w.head.epoch,
                    nonce=nonces[name],
                    generation=generation,
                    offset=written[name],
                    digest=record_digest(values[name]),
                )
                yield Taken(who=w.who, claim=claim)
        finally:  # however it ends: what nobody has may be claimed anew
            live.difference_update(nonces[name] for name in left)

    def _send(
        self, free: Iterable[_Wanted], values: Mapping[str, bytes]
    ) -> list[int | HeadwaterError]:
        crash_point("session.before_claim")
        sent = self._lease.send_claims(
            [(w.recovered.partition, w.who.agent_id.encode(), values[w.who.agent_id]) for w in free]
        )
        crash_point("session.after_claim")
        return sent

    def _read_back(
        self, wanted: Collection[_Wanted], untils: Mapping[int, int]
    ) -> Iterator[tuple[_Wanted, HeadwaterError | None]]:
        """Each with all that lies before the end of the claims in its partition, or with what was
        wrong with it: where reading fails, it is found out with which partition or agent.
        """
        left = {w.who.agent_id: w for w in wanted}
        try:
            for w in self._advance(wanted, untils):
                del left[w.who.agent_id]
                yield w, None
            return
        except HeadwaterError as error:
            wrong = error
        parts: defaultdict[int | str, list[_Wanted]] = defaultdict(list)
        for w in left.values():
            parts[w.recovered.partition].append(w)
        if len(parts) == 1 and len(left) > 1 and not isinstance(wrong, RetryableError):
            parts = defaultdict(list, {name: [w] for name, w in left.items()})
        if len(parts) == 1:
            yield from ((w, wrong) for w in left.values())
        else:
            for part in parts.values():
                yield from self._read_back(part, untils)

    def _advance(
        self, wanted: Iterable[_Wanted], untils: Mapping[int, int] | None = None
    ) -> Iterator[_Wanted]:
        """Read on, each as soon as its partition was read."""
        behind = {w.recovered.agent_id: w for w in wanted}
        for group in self._recovery.advance_many([w.recovered for w in behind.values()], untils):
            for recovered in group:
                w = behind[recovered.agent_id]
                w.recovered = recovered
                yield w


def _ends(wanted: Iterable[_Wanted], written: Mapping[str, int]) -> dict[int, int]:
    """For each partition the offset behind the last claim that was written there."""
    ends: dict[int, int] = {}
    for w in wanted:
        partition = w.recovered.partition
        ends[partition] = max(ends.get(partition, 0), written[w.who.agent_id] + 1)
    return ends


def _runs_out_s(head: Head, hearing: Hearing) -> float:
    """When the owner's lease has run out for sure, if nothing more is heard of it."""
    return hearing.last_s(head.incarnation) + head.lease_ms / 1000 * DRIFT


def _late(w: _Wanted) -> Taken:
    return Taken(who=w.who, error=owned_by(w.head, "it was not given up in time"))
