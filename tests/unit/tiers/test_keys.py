"""Keys and the file names that they become."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import UnsupportedValue
from headwater.tiers.keys import check_key, folder_of, key_of, path_of
from tests.support.tiers import HOSTILE_KEYS, KEYS


@given(KEYS)
def test_a_path_leads_back_to_its_key(key: str) -> None:
    """No two keys share a path, not even where a file system folds case or accents."""
    path = path_of(key)
    assert key_of(path) == key
    assert path.isascii() and path == path.lower()


@given(KEYS)
def test_a_path_stays_inside(key: str) -> None:
    """A path has ordinary names only, short enough for any file system, and no dot files."""
    for name in PurePosixPath(path_of(key)).parts:
        assert len(name) <= 143
        assert name not in {".", ".."}
    assert not path_of(key).startswith((".", "/"))


@given(KEYS, KEYS)
def test_one_key_is_no_folder_of_another(one: str, other: str) -> None:
    """A file's path is never a folder on the way to another file."""
    for below in (other, f"{one}/{other}", f"{one}.value/{other}"):
        assert path_of(one) not in {str(p) for p in PurePosixPath(path_of(below)).parents}


@given(KEYS, st.integers(0, 20))
def test_a_prefix_names_a_folder_above_its_keys(key: str, length: int) -> None:
    """The folder of any beginning of a key holds the key's file."""
    folder = folder_of(key[:length])
    assert path_of(key).startswith(f"{folder}/" if folder else "")


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_keys_that_cannot_be(key: str) -> None:
    """Empty, climbing, endless and unencodable keys are refused."""
    with pytest.raises(UnsupportedValue, match="key"):
        check_key(key)


@pytest.mark.parametrize("name", ["a", "A.value", "a~/b", "%zz.value", "%ff.value", "%61.value"])
def test_files_of_others_are_no_keys(name: str) -> None:
    """A file that no key is spelt as is nobody's."""
    assert key_of(name) is None
