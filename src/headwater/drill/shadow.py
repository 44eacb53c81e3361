"""Shadow agents: they have the state of a real agent, and do nothing but count in it.

A drill's nodes run them. An order, a file in the drill's directory, has one's next step go wrong.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from headwater.agent.session import Session
from headwater.drill.steps import BEGUN, DONE, SPOILT, Notebook
from headwater.node.hosted import HostedAgent

DIRECTORY = "HEADWATER_DRILL_DIRECTORY"
DISK = "HEADWATER_DRILL_DISK"
KIND = "headwater.drill.shadow:Shadow"
FIELD = "headwater.drill"
"""Where in a shadow's data the numbers of its steps are."""

SPOIL = "spoil"
"""Make a state that its transitions do not allow."""
FILL = "fill"
"""Fill the disk on which the node keeps its files, until :func:`free_disk`."""

_PREFIX = "drill."
_DRILLED, _SPOILT = "drilled", "spoilt"
_FREE = "free-disk"
_BLOCK = b"\0" * (1 << 18)
_POLL_S = 0.1


def shadow_id(drill_id: str, agent_id: str) -> str:
    """The name of an agent's shadow in a drill."""
    return f"{_PREFIX}{drill_id}.{agent_id}"


def is_shadow(agent_id: str) -> bool:
    """Whether an agent is a drill's."""
    return agent_id.startswith(_PREFIX)


def order(directory: Path, agent_id: str, what: str) -> None:
    """Have a shadow's next step go wrong."""
    path = _order(directory, agent_id)
    partial = path.with_suffix(".partial")
    partial.write_text(what, encoding="utf-8")
    partial.replace(path)


def _order(directory: Path, agent_id: str) -> Path:
    # Agent ids may hold what file names cannot.
    return directory / f"{agent_id.encode().hex()[-200:]}.order"


class Shadow(HostedAgent):
    """Counts its steps in the state, and notes outside of Kafka what it did."""

    kind = "headwater.drill.Shadow"
    pause = timedelta(milliseconds=100)
    deadline = timedelta(seconds=30)
    transitions: ClassVar[dict[str, list[str]]] = {_DRILLED: [_DRILLED]}

    _notebook: ClassVar[Notebook | None] = None

    def step(self, agent: Session) -> None:
        """One more number in the state."""
        directory = Path(os.environ[DIRECTORY])
        if Shadow._notebook is None:
            Shadow._notebook = Notebook(directory, os.environ["HEADWATER_NODE_ID"])
        what, book = _taken_order(directory, agent.agent_id), Shadow._notebook
        number = len(agent.state.data.get(FIELD, ())) + 1
        book.note(SPOILT if what == SPOIL else BEGUN, agent.agent_id, number)
        if what == FILL:
            _fill(directory, Path(os.environ[DISK]))
        with agent.change() as state:
            if number == 1:
                state.data[FIELD] = []
            state.data[FIELD].append(number)
            state.status = _SPOILT if what == SPOIL else _DRILLED
        if what != SPOIL:
            book.note(DONE, agent.agent_id, number)


def _taken_order(directory: Path, agent_id: str) -> str:
    path = _order(directory, agent_id)
    try:
        what = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    path.unlink(missing_ok=True)
    return what


def free_disk(directory: Path) -> None:
    """Have the disk freed that was filled."""
    (directory / _FREE).touch()


def _fill(directory: Path, disk: Path) -> None:
    # What has no name is gone with the process, whatever becomes of it.
    file = tempfile.TemporaryFile(dir=disk, buffering=0)  # noqa: SIM115 - see below
    with contextlib.suppress(OSError):
        while True:
            file.write(_BLOCK)

    def hold() -> None:
        while not (directory / _FREE).exists():
            time.sleep(_POLL_S)
        file.close()

    threading.Thread(target=hold, name="drill-full-disk", daemon=True).start()
