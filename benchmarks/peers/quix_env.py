"""Where Quix Streams lives: an environment of its own, for it pins confluent-kafka below ours."""

from __future__ import annotations

import os
import subprocess

from benchmarks.child import ROOT

VARIABLE = "HEADWATER_QUIX_PYTHON"


def quix_python() -> str:
    """Its interpreter: ``HEADWATER_QUIX_PYTHON``, else that of ``./dev env quix``."""
    if given := os.environ.get(VARIABLE):
        return given
    done = subprocess.run(
        [ROOT / "dev", "env", "quix"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]
