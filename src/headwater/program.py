"""What the programs have in common that run with ``python -m``: logging, and how they end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from headwater.errors import HeadwaterError


def run_program(name: str, run: Callable[[], object]) -> int:
    """Run until told to stop, with a log on stderr. Exit code 1 for an error that ended it."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("headwater").setLevel(logging.INFO)
    try:
        run()
    except HeadwaterError as error:
        logging.getLogger(f"headwater.{name}").error("%s", error)
        return 1
    return 0
