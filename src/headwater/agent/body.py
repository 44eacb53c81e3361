"""An agent's state inside a session: the document, the draft over it, and its limits."""

from __future__ import annotations

from headwater.errors import ChangeRejected, TooLarge
from headwater.state.describe import heaviest_change
from headwater.state.draft import Recorder, StateView, read_only
from headwater.state.model import AgentState, Document
from headwater.state.patch import decode_patch
from headwater.state.values import heaviest, pack


class Body:
    """The state that a session works on. One draft at a time."""

    __slots__ = (
        "_adopted", "_limit_change", "_limit_state", "_open", "_reader", "_size", "agent_id",
        "document", "recorder", "request_id", "session_id",
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
    ) -> None:
        self.agent_id = agent_id
        self.session_id = session_id
        self.request_id = request_id
        self._limit_state = max_state_bytes
        self._limit_change = max_change_bytes
        self.install(document)

    def install(self, document: Document) -> None:
        """Work on another document from now on."""
        self.document = document
        self.recorder = Recorder(document)
        self._reader: StateView | None = None
        self._open = False
        self._size = len(pack(document))
        self._adopted = self._is_adopted()

    def _is_adopted(self) -> bool:
        # The session's ids become part of the state with its first change, not by its claim.
        ids = (self.document["session_id"], self.document["request_id"])
        return ids == (self.session_id, self.request_id)

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
        self._adopted = self._is_adopted()
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
        patch = recorder.patch()
        self.check_change(patch)
        # A change adds at most its own bytes; only near the limit is the state measured.
        self._size += len(patch)
        if self._size > self._limit_state:
            self._size = len(pack(self.document))
            self.check_size(self.document, self._size)
        self._adopted = True
        return patch

    def check_change(self, patch: bytes) -> None:
        """:class:`TooLarge` for a patch over the limit."""
        if len(patch) > self._limit_change:
            where = heaviest_change(decode_patch(patch))
            what = f"agent {self.agent_id!r}: a change"
            raise TooLarge(what, len(patch), self._limit_change, where)

    def check_size(self, document: Document, size: int) -> None:
        """:class:`TooLarge` for a document over the limit."""
        if size > self._limit_state:
            raise TooLarge(
                f"agent {self.agent_id!r}: its state", size, self._limit_state, heaviest(document)
            )
