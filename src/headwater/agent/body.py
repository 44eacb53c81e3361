"""An agent's state inside a session: the document, the draft over it, and its limits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from headwater.errors import ChangeRejected, InvalidState, TooLarge
from headwater.state.describe import heaviest_change
from headwater.state.draft import Recorder, StateView, read_only
from headwater.state.model import AgentState, Document
from headwater.state.patch import decode_patch
from headwater.state.values import heaviest, pack
from headwater.state.version import STATE_VERSION, version_of
from headwater.state.views import MapView


class Body:
    """The state that a session works on. One draft at a time."""

    __slots__ = (
        "_adopted", "_code_version", "_limit_change", "_limit_state", "_open", "_reader", "_size",
        "agent_id", "document", "recorder", "request_id", "session_id", "state_version",
    )  # fmt: skip

    def __init__(
        self,
        agent_id: str,
        document: Document,
        *,
        session_id: str,
        request_id: str | None,
        max_state_bytes: int,
        max_change_bytes: int,
        code_version: int | None = None,
    ) -> None:
        self.agent_id = agent_id
        self.session_id = session_id
        self.request_id = request_id
        self._limit_state = max_state_bytes
        self._limit_change = max_change_bytes
        self._code_version = code_version
        self.install(document)

    def install(self, document: Document) -> None:
        """Work on another document from now on."""
        self.document = document
        self.recorder = Recorder(document)
        self._reader: StateView | None = None
        self._open = False
        self._size = len(pack(document))
        self._look()

    def _look(self) -> None:
        self._adopted = self._is_adopted()
        self.state_version: int | None = None
        if self._code_version is not None:
            ids = self.agent_id, self.document["session_id"]
            with suppress(InvalidState):  # told where states are upgraded
                found = version_of(*ids, self.document["metadata"])
                self.state_version = found or self._code_version

    def _is_adopted(self) -> bool:
        # The session's ids become part of the state with its first change, not by its claim.
        ids = (self.document["session_id"], self.document["request_id"])
        return ids == (self.session_id, self.request_id)

    def check_closed(self) -> None:
        """:class:`ChangeRejected` while a draft is open."""
        if self._open:
            raise ChangeRejected(
                f"agent {self.agent_id!r}: a change is open; end it before making a checkpoint"
            )

    @property
    def is_open(self) -> bool:
        """Whether a draft is open."""
        return self._open

    @property
    def view(self) -> StateView:
        """The state, to be read."""
        if self._reader is None:
            self._reader = read_only(self.document)
        return self._reader

    def copy(self) -> AgentState:
        """A plain copy of the state."""
        return AgentState.from_document(self.agent_id, self.document)

    def begin(self) -> StateView:
        """Open a draft; :class:`ChangeRejected` while another one is open."""
        if self._open:
            raise ChangeRejected(
                f"agent {self.agent_id!r}: a change is open already; end it before the next begins"
            )
        recorder = self.recorder
        recorder.reset()
        self._open = True
        return recorder.view

    def abandon(self) -> None:
        """Take the draft back."""
        self.recorder.rollback()
        self._look()
        self.end()

    def end(self) -> None:
        """The draft is over; what was done in it stays."""
        self._open = False
        self.recorder.close()

    def seal(self) -> bytes | None:
        """The draft's patch, or None if it changes nothing; :class:`TooLarge` over a limit.

        The draft stays open, so that it can still be taken back.
        """
        recorder = self.recorder
        if recorder.is_empty:
            return None
        if not self._adopted:
            view = recorder.view
            view.session_id, view.request_id = self.session_id, self.request_id
        if self.state_version is not None:
            self.stamp(recorder.view.metadata)
        patch = recorder.patch()
        self.check_change(patch)
        # A change adds at most its own bytes; only near the limit is the state measured.
        self._size += len(patch)
        if self._size > self._limit_state:
            self._size = len(pack(self.document))
            self.check_size(self.document, self._size)
        self._adopted = True
        return patch

    def stamp(self, metadata: MapView | dict[str, Any]) -> None:
        """Let ``metadata`` say which version the state has, whatever a change did to it."""
        version = self.state_version
        if version is not None and metadata.get(STATE_VERSION, 1) != version:
            metadata[STATE_VERSION] = version

    def check_change(self, patch: bytes) -> None:
        """:class:`TooLarge` for a patch over the limit."""
        if len(patch) > self._limit_change:
            where = heaviest_change(decode_patch(patch))
            what = f"agent {self.agent_id!r}: a change"
            raise TooLarge(what, len(patch), self._limit_change, where)

    @property
    def size_bytes(self) -> int:
        """About what the state takes, packed; never less."""
        return self._size

    def check_size(self, document: Document, size: int) -> None:
        """:class:`TooLarge` for a document over the limit."""
        if size > self._limit_state:
            raise TooLarge(
                f"agent {self.agent_id!r}: its state", size, self._limit_state, heaviest(document)
            )
