"""Applying patches: what each operation does, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import ChangeRejected, UndecodableRecord, UnsupportedValue
from headwater.state.describe import Changes, describe, heaviest_change
from headwater.state.model import Document, new_document
from headwater.state.patch import (
    APPEND,
    REMOVE,
    SET,
    SPLICE,
    TEXT,
    PatchError,
    apply_patch,
    decode_patch,
    encode_patch,
)
from headwater.state.values import MAX_DEPTH, pack


@pytest.fixture
def document() -> Document:
    """A document with something at every kind of place."""
    return {
        **new_document(),
        "data": {
            "plan": ["a", "b"],
            "text": "hello",
            "set": {1},
            "tuple": ([1],),
            "deep": {"x": {}},
        },
        "messages": [{"role": "user"}, "two", 3],
    }


@pytest.mark.parametrize(
    ("op", "place", "expected"),
    [
        ((SET, ["status"], "busy"), ["status"], "busy"),
        ((SET, ["task"], {"any": ("thing",)}), ["task"], {"any": ("thing",)}),
        ((SET, ["max_steps"], 7), ["max_steps"], 7),
        ((SET, ["data", "new"], {1, 2}), ["data", "new"], {1, 2}),
        ((SET, ["data", "plan", 1], None), ["data", "plan"], ["a", None]),
        ((SET, ["messages", 0, "role"], "tool"), ["messages", 0], {"role": "tool"}),
        ((REMOVE, ["data", "deep"]), ["data", "deep"], None),
        ((REMOVE, ["messages", 0]), ["messages"], ["two", 3]),
        ((APPEND, ["messages"], [4]), ["messages"], [{"role": "user"}, "two", 3, [4]]),
        ((APPEND, ["data", "plan"], "c"), ["data", "plan"], ["a", "b", "c"]),
        ((SPLICE, ["messages"], 1, 2, []), ["messages"], [{"role": "user"}]),
        ((SPLICE, ["messages"], 3, 0, [4, 5]), ["messages", 4], 5),
        ((SPLICE, ["data", "plan"], 0, 1, ["x", "y"]), ["data", "plan"], ["x", "y", "b"]),
        ((TEXT, ["data", "text"], ", you"), ["data", "text"], "hello, you"),
        ((TEXT, ["status"], "er"), ["status"], "newer"),
    ],
)
def test_operations(document: Document, op: Any, place: list[Any], expected: Any) -> None:
    """Each operation does what its row in the table says."""
    apply_patch(document, decode_patch(encode_patch([op])))
    node: Any = document
    for key in place:
        node = node.get(key) if type(node) is dict else node[key]
    assert node == expected
    assert tuple(document) == tuple(new_document())


BAD: list[Any] = [
    None,
    7,
    "SET",
    (),
    (SET,),
    (SET, ["status"]),
    (SET, ["status"], "x", "y"),
    (5, ["status"], "x"),
    (-1, ["status"], "x"),
    (True, ["data", "text"]),
    (0.0, ["status"], "x"),
    (10**5000, ["status"], "x"),
    (SET, [], {}),
    (SET, "status", "x"),
    (SET, {"status": 1}, "x"),
    (SET, ["status"], None),
    (SET, ["step"], True),
    (SET, ["step"], 1.0),
    (SET, ["data"], []),
    (SET, ["messages"], ()),
    (SET, ["unknown"], 1),
    (SET, ["unknown", "x"], 1),
    (SET, [["data"]], 1),
    (SET, ["data", 1], 1),
    (SET, ["data", None], 1),
    (SET, ["data", "missing", "x"], 1),
    (SET, ["data", "text", 0], "x"),
    (SET, ["data", "tuple", 0], 1),
    (SET, ["data", "tuple", 0, 0], 1),
    (SET, ["data", "set", 0], 1),
    (SET, ["messages", 3], 1),
    (SET, ["messages", -1], 1),
    (SET, ["messages", True], 1),
    (SET, ["messages", -3, "role"], "x"),
    (SET, ["messages", False, "role"], "x"),
    (SET, ["messages", "0"], 1),
    (SET, ["messages", 10**5000], 1),
    (SET, ["messages", 0.0], 1),
    (SET, ["data", "x"], {1: 2}),
    (SET, ["data", "x"], [{1: 2}]),
    (REMOVE, ["status"]),
    (REMOVE, ["data"]),
    (REMOVE, ["data", "missing"]),
    (REMOVE, ["messages", 3]),
    (REMOVE, ["data", "set", 1]),
    (APPEND, ["data"], 1),
    (APPEND, ["data", "set"], 1),
    (APPEND, ["data", "tuple"], 1),
    (APPEND, ["messages", 9], 1),
    (SPLICE, ["messages"], 0, 4, []),
    (SPLICE, ["messages"], 4, 0, []),
    (SPLICE, ["messages"], -1, 1, []),
    (SPLICE, ["messages"], 0, -1, []),
    (SPLICE, ["messages"], 10**5000, 0, []),
    (SPLICE, ["messages"], True, 0, []),
    (SPLICE, ["messages"], 0, 0, "ab"),
    (SPLICE, ["messages"], 0, 0, (1,)),
    (SPLICE, ["data"], 0, 0, []),
    (TEXT, ["step"], "x"),
    (TEXT, ["data", "missing"], "x"),
    (TEXT, ["data", "text"], b"x"),
    (TEXT, ["messages", 9], "x"),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_what_does_not_fit_is_refused_whole(document: Document, bad: Any) -> None:
    """A bad operation is a `PatchError`, and the good ones around it are taken back."""
    before = pack(document)
    good = [
        (SET, ["data", "plan", 0], "z"),
        (SET, ["data", "fresh"], 1),
        (REMOVE, ["messages", 1]),
        (SPLICE, ["messages"], 0, 1, [7, 8, 9]),
        (APPEND, ["messages"], "end"),
        (TEXT, ["data", "text"], "!"),
        (SET, ["status"], "x"),
        (SPLICE, ["messages"], 0, 5, ["two", 3]),
        (SPLICE, ["messages"], 0, 0, [{"role": "user"}]),
    ]
    with pytest.raises(PatchError) as caught:
        apply_patch(document, [*good, bad])
    assert pack(document) == before
    assert isinstance(caught.value, ChangeRejected)
    assert len(str(caught.value)) < 500
    # In the middle it is seen against another document; still no other error gets out.
    with pytest.raises(PatchError):
        apply_patch(document, [bad, *good])
    assert pack(document) == before


def test_depth_is_bounded_by_application(document: Document) -> None:
    """No row of small patches can build a document too deep to be packed."""
    path: list[Any] = ["data"]
    with pytest.raises(PatchError, match="deeper"):
        for _ in range(2 * MAX_DEPTH):
            path.append("k")
            apply_patch(document, [(SET, path, {})])
    pack(document)
    deeper: list[Any] = [(SET, path, []), (APPEND, path[:-1], {}), (SPLICE, path[:-1], 0, 0, [[]])]
    for op in deeper:
        with pytest.raises(PatchError):
            apply_patch(document, [op])


def test_patches_are_lists() -> None:
    """Bytes that hold no array are no patch, and neither are other Python values."""
    for data in (b"", b"\x01", b"\x80", pack((1,))):
        with pytest.raises(UndecodableRecord):
            decode_patch(data)
    bad: list[Any] = [None, {}, 7, "ops"]
    for ops in bad:
        with pytest.raises(PatchError):
            apply_patch(new_document(), ops)


def test_encoding_names_unsupported_values() -> None:
    """A value that no state can hold is refused with its place in the document."""
    with pytest.raises(UnsupportedValue) as caught:
        encode_patch([(SPLICE, ["messages"], 2, 0, [{"x": 3j}])])
    assert caught.value.path == ("messages", 2, "x")
    with pytest.raises(UnsupportedValue):
        encode_patch([(REMOVE, ["data", "\ud800"])])


def test_values_are_copied_into_documents() -> None:
    """The operations' values stay as they are, whatever later operations do to the document."""
    ops: list[Any] = [(SET, ["data", "k"], {"list": [1]}), (APPEND, ["data", "k", "list"], 2)]
    for document in (new_document(), new_document()):
        apply_patch(document, ops)
        assert document["data"] == {"k": {"list": [1, 2]}}


def test_describe() -> None:
    """The description names fields, removals, new messages and metadata."""
    message = {"role": "user", "content": "hi"}
    changes = describe(
        [
            (SET, ["status"], "x"),
            (SET, ["data", "plan", "step", 3], 1),
            (SET, ["data", "gone"], 1),
            (REMOVE, ["data", "gone"]),
            (REMOVE, ["data", "back"]),
            (SET, ["data", "back"], 1),
            (REMOVE, ["metadata", "tags", "x"]),
            (APPEND, ["messages"], message),
            (SPLICE, ["messages"], 1, 0, ["two"]),
            (TEXT, ["messages", 3, "content"], "more"),
        ]
    )
    assert changes == Changes(
        changed_fields=(
            "status",
            "data.plan",
            "data.back",
            "metadata.tags",
            "messages",
            "messages[3]",
        ),
        removed_fields=("data.gone",),
        new_messages=(message, "two"),
        changed_metadata=("tags",),
        change_count=10,
    )
    assert not changes.is_empty
    assert changes.description == (
        "changed status, data.plan, data.back, metadata.tags, messages and 1 more; "
        "removed data.gone; 2 new messages"
    )
    assert describe([]).is_empty
    assert describe([]).description == "no changes"


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_describe_takes_anything(bad: Any) -> None:
    """Operations that fit no document are counted."""
    assert describe([bad]).change_count == 1
    assert describe([bad]).description


def test_heaviest_change() -> None:
    """The largest part of a patch is named by its place in the document."""
    large = "x" * 1000
    ops: list[Any] = [
        (SET, ["status"], "x"),
        (SET, ["data", "k"], {"a": 1, "b": [large]}),
        (REMOVE, ["data", "z"]),
    ]
    assert heaviest_change(ops) == ("data", "k", "b", 0)
    assert heaviest_change([(SPLICE, ["messages"], 3, 0, [{"content": large}])]) == (
        "messages",
        3,
        "content",
    )
    assert heaviest_change([(REMOVE, ["data", "z"])]) == ()
