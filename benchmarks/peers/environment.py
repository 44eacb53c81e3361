"""Where peers live that cannot share our environment: for what they pin, or for what they bring."""

from __future__ import annotations

import os
import subprocess

from benchmarks.child import ROOT


def peer_python(name: str) -> str:
    """The interpreter of a peer's environment: ``HEADWATER_<NAME>_PYTHON``, else that of
    ``./dev env NAME``.
    """
    if given := os.environ.get(f"HEADWATER_{name.upper()}_PYTHON"):
        return given
    done = subprocess.run(
        [ROOT / "dev", "env", name], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]
