"""``python -m headwater.demo``: the same as ``headwater demo``."""

import sys

from headwater.cli import cli

cli(["demo", *sys.argv[1:]])
