"""Claims an agent: waits until nobody else owns it, writes a claim, and reads the log up to it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Literal

from headwater import topics
from headwater.agent.lease import INCARNATION_BYTES, Lease, heartbeat_partition
from headwater.clock import wall_ms
from headwater.config import Config
from headwater.crash import crash_point
from headwater.errors import AgentOwned
from headwater.fleet.feed import Sender
from headwater.fleet.records import Command, CommandAgent, CommandKind
from headwater.log.chain import record_digest
from headwater.log.fold import Head
from headwater.log.records import Encoder
from headwater.recovery import Recovered, Recovery
from headwater.wire import codec

ClaimPolicy = Literal["wait", "refuse", "steal"]

NONCE_BYTES = INCARNATION_BYTES
_STEP_S = 0.02
# A clock may run this much faster than another one and a lease still be respected.
DRIFT = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An admitted claim: the agent as it was taken over, and the rights to it."""

    recovered: Recovered
    epoch: int
    nonce: bytes
    generation: int
    offset: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who claims: fixed for a session."""

    agent_id: str
    session_id: str
    request_id: str | None


class Claimer:
    """Claims agents for this process."""

    def __init__(self, recovery: Recovery, lease: Lease, live_nonces: set[bytes]) -> None:
        self._recovery = recovery
        self._lease = lease
        self.live_nonces = live_nonces

    def claim(self, who: Claimant, policy: ClaimPolicy, timeout_s: float) -> Claim:
        """Own the agent, or raise :class:`AgentOwned`: at once under ``"refuse"``, otherwise
        after ``timeout_s``. ``"steal"`` asks the owner's node to give it up before it waits.
        """
        deadline = time.monotonic() + timeout_s
        recovered = self._recovery.look(who.agent_id)
        asked = False
        while True:
            head = recovered.head
            if policy == "steal" and head.owned and not asked and not self.is_leftover(head):
                ask_for(self._recovery.config, who.agent_id, head.node_id)
                asked = True
            recovered = self._until_free(recovered, policy, deadline)
            claim = self.attempt(who, recovered, recovered.head.epoch + 1)
            if claim.recovered.head.nonce == claim.nonce:
                return claim
            recovered = claim.recovered
            if time.monotonic() >= deadline and recovered.head.owned:
                raise owned_by(recovered.head, "another process claimed it first")

    def doubt_leaders(self) -> None:
        """A record was acknowledged late or not at all: ask for the leaders before all else."""
        self._lease.doubt_leaders()
        self._recovery.doubt_leaders()

    def attempt(
        self,
        who: Claimant,
        recovered: Recovered | None,
        epoch: int,
        tried: list[bytes] | None = None,
    ) -> Claim:
        """Write one claim for ``epoch`` and read the log through it, from ``recovered`` on or,
        where that is None, anew. Whether the claim was admitted, the head's nonce says.

        The claim's digest is added to ``tried`` before it is sent: one whose acknowledgement is
        lost may be in the log all the same.
        """
        generation = self._lease.start()
        nonce = secrets.token_bytes(NONCE_BYTES)
        value = self.encoder(who, epoch, nonce).claim(wall_ms())
        digest = record_digest(value)
        if tried is not None:
            tried.append(digest)
        partition = self._recovery.partition_of(who.agent_id)
        self.live_nonces.add(nonce)
        try:
            crash_point("session.before_claim")
            offset = self._lease.send_claim(partition, who.agent_id.encode(), value)
            crash_point("session.after_claim")
            if recovered is None:
                recovered = self._recovery.look(who.agent_id, until=offset + 1)
            else:
                recovered = self._recovery.advance(recovered, until=offset + 1)
        except BaseException:
            self.live_nonces.discard(nonce)
            raise
        if recovered.head.nonce != nonce:
            self.live_nonces.discard(nonce)
        return Claim(
            recovered=recovered,
            epoch=epoch,
            nonce=nonce,
            generation=generation,
            offset=offset,
            digest=digest,
        )

    def encoder(self, who: Claimant, epoch: int, nonce: bytes | None) -> Encoder:
        """Writes the records of a session that acts under ``epoch`` and ``nonce``."""
        return Encoder(
            agent_id=who.agent_id,
            epoch=epoch,
            nonce=nonce,
            session_id=who.session_id,
            request_id=who.request_id,
            node_id=self._lease.node_id,
            incarnation=self._lease.incarnation,
            lease_ms=self._lease.lease_ms if nonce is not None else 0,
        )

    def _until_free(self, recovered: Recovered, policy: ClaimPolicy, deadline: float) -> Recovered:
        while recovered.head.owned:
            head = recovered.head
            if self.is_leftover(head):
                return recovered
            if policy == "refuse":
                raise owned_by(head, 'claim="refuse"')
            watch = OwnerWatch(self._recovery, self._lease, recovered)
            if watch.wait(deadline):
                return watch.recovered
            recovered = watch.recovered
            if time.monotonic() >= deadline and recovered.head.owned:
                raise owned_by(head, "it was not given up in time")
        return recovered

    def is_leftover(self, head: Head) -> bool:
        """Whether the agent is owned by a claim of this process that no session holds."""
        # A claim of this very process that no session of it holds: one whose acknowledgement
        # was lost. Waiting for this process's own lease to run out would be waiting for ever.
        return head.incarnation == self._lease.incarnation and head.nonce not in self.live_nonces


def owned_by(head: Head, why: str) -> AgentOwned:
    """The error that says who has the agent."""
    return AgentOwned(
        f"agent {head.agent_id!r} is owned by node {head.node_id!r} (epoch {head.epoch}): {why}",
        head.epoch,
    )


def ask_for(config: Config, agent_id: str, node_id: str) -> None:
    """Tell the node that owns an agent to give it up. A process that is no node does not listen:
    then it has to end, or its lease to run out, as for anybody who waits.
    """
    topics.connect_fleet(config)
    sender = Sender(config)
    try:
        command = Command(
            command_id=secrets.token_hex(16),
            node_id=node_id,
            kind=CommandKind.STOP,
            agents=[CommandAgent(agent_id=agent_id)],
            # Its route stays: whoever asks is about to be where it leads.
            arguments={"handover": True},
            reason=f"node {config.node_id!r} wants to own it",
            issued_by=f"node:{config.node_id}",
            issued_at=wall_ms(),
        )
        sender.put("commands", node_id, command)
    finally:
        sender.close()


class OwnerWatch:
    """Waits until an owner's lease has run out, or it gives the agent up."""

    def __init__(self, recovery: Recovery, lease: Lease, recovered: Recovered) -> None:
        self._recovery = recovery
        self._lease = lease
        self.recovered = recovered
        self._head = recovered.head
        self._topic = recovery.config.topic("heartbeats")
        self._partition = heartbeat_partition(self._head.node_id)
        self._lease_s = self._head.lease_ms / 1000 * DRIFT

    def wait(self, deadline: float) -> bool:
        """True once a whole lease has passed since the owner's last heartbeat was read; False
        when its ownership ended otherwise, or at ``deadline`` (of time.monotonic).
        """
        now = self._lease.clock.now
        with self._recovery.scans.lend() as reader:
            # Heartbeats before this end were sent before now, and count no longer than now + lease.
            _, position = reader.range(self._topic, self._partition)
        last = now()
        while time.monotonic() < deadline:
            position, seen = self._beats(position, None)
            if not seen and now() - last >= self._lease_s:
                # Only a record of one's own, acknowledged and read, proves that no heartbeat
                # was missed: a leader that lost its quorum would show an old end.
                probe = self._lease.send_probe(self._partition)
                position, seen = self._beats(position, probe + 1)
                if not seen:
                    self.recovered = self._recovery.advance(self.recovered)
                    return not self._changed()
            if seen:
                last = now()
            self.recovered = self._recovery.advance(self.recovered)
            if self._changed():
                return False
            time.sleep(_STEP_S)
        return False

    def _changed(self) -> bool:
        head = self.recovered.head
        return (head.epoch, head.nonce) != (self._head.epoch, self._head.nonce)

    def _beats(self, position: int, until: int | None) -> tuple[int, bool]:
        """Where reading stopped, and whether a heartbeat of the owner was among what was read."""
        seen = False
        with self._recovery.scans.lend() as reader:
            for batch in reader.scan(self._topic, self._partition, position, until):
                for message in batch:
                    position = (message.offset() or 0) + 1
                    seen |= self._is_owners(message.value() or b"")
        return position, seen

    def _is_owners(self, value: bytes) -> bool:
        beat = codec("Heartbeat").decode(value)
        return bool(beat["kind"] == "BEAT" and beat["incarnation"] == self._head.incarnation)
