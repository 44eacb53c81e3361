"""The workload's program: owns agents, changes them, and notes what was tried and acknowledged.

``python -m tests.support.worker TASK`` works until SIGTERM, or until its changes are done. The task
is a JSON object, see :class:`Task`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import headwater
from headwater import AgentOwned, ChangesDropped, Client, Fenced, RetryableError
from headwater.agent.session import Session
from tests.support.history import SESSION, Notes, payload

log = logging.getLogger("tests.worker")

_stop = threading.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker does.

    ``changes`` is how many to make on each agent (0: until told to stop), ``burst`` how many are
    sent without waiting before they are flushed (1: each is waited for), ``pause_s`` the rest
    between two rounds. ``freeze_at``: before sending the change of that number, on the first
    agent, it stops itself with SIGSTOP. ``again``: claim an agent anew after being fenced.
    """

    notes: str
    agents: list[str]
    changes: int = 0
    burst: int = 1
    pause_s: float = 0.02
    freeze_at: int = 0
    again: bool = False
    strong: bool = False


class Writer:
    """One session of one agent, as the workload sees it."""

    def __init__(self, task: Task, notes: Notes, client: Client, agent: str) -> None:
        self._task = task
        self._notes = notes
        self._client = client
        self.agent = agent
        self.made = 0
        self.gone = False
        self._freezes = task.freeze_at if agent == task.agents[0] else 0
        self._session: Session | None = None
        self._name = ""

    def step(self) -> None:
        """Make one burst of changes and learn what became of it."""
        session = self._session or self._open()
        if session is None:
            return
        try:
            self._changes(session)
        except Fenced:
            self._notes.note("fenced", self.agent, self._name)
            self._session = None
            self.gone = not self._task.again
        except RetryableError as error:
            log.warning("%s: %s", self.agent, error)
            self._settle(session)

    def release(self) -> None:
        """Give the agent up."""
        if self._session is not None:
            try:
                self._session.release()
            except (Fenced, RetryableError) as error:
                log.warning("%s: not given up: %s", self.agent, error)

    def _open(self) -> Session | None:
        try:
            session = self._client.open(self.agent, session=SESSION, timeout=timedelta(seconds=5))
        except RetryableError as error:
            level = logging.DEBUG if isinstance(error, AgentOwned) else logging.WARNING
            log.log(level, "%s: %s", self.agent, error)
            return None
        assert isinstance(session, Session)
        self._session, self._name = session, f"{self._client.node_id}/{session.epoch}"
        return session

    def _changes(self, session: Session) -> None:
        for _ in range(self._task.burst):
            self._change(session, wait=self._task.burst == 1)
        if self._task.burst > 1:
            session.flush()
            self._acknowledged(session)

    def _change(self, session: Session, *, wait: bool) -> None:
        level = headwater.STRONG if self._task.strong else headwater.ACKNOWLEDGED
        n = session.state.data.get(self._name, 0) + 1
        self._notes.note("try", self.agent, self._name, n)
        with session.change(wait=wait, level=level) as state:
            state.messages.append([self._name, n, payload(self._name, n)])
            state.data[self._name] = n
            state.step += 1
            state.status = "working"
            if n == self._freezes:
                self._freezes = 0
                os.kill(os.getpid(), signal.SIGSTOP)
        self.made += 1
        if wait:
            self._acknowledged(session)

    def _acknowledged(self, session: Session) -> None:
        n = session.state.data.get(self._name, 0)
        self._notes.note("ack", self.agent, self._name, n)

    def _settle(self, session: Session) -> None:
        """After a retryable error: only what the log holds counts as done."""
        while True:
            try:
                session.flush()
            except ChangesDropped:
                break
            except Fenced:
                self._notes.note("fenced", self.agent, self._name)
                self._session = None
                self.gone = not self._task.again
                return
            except RetryableError as error:
                log.warning("%s: %s", self.agent, error)
                time.sleep(0.1)
            else:
                break
        self._acknowledged(session)


def work(task: Task) -> None:
    """Do the task."""
    notes = Notes(Path(task.notes))
    with headwater.connect() as client:
        writers = [Writer(task, notes, client, agent) for agent in task.agents]
        while not _stop.is_set():
            busy = [w for w in writers if not w.gone and not 0 < task.changes <= w.made]
            if not busy:
                break
            for writer in busy:
                writer.step()
            time.sleep(task.pause_s)
        for writer in writers:
            writer.release()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    work(Task(**json.loads(sys.argv[1])))
