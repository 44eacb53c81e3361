"""Finds the apps that ship beside the library: in the wheel, or in a checkout.

The wheel holds ``streams/`` and ``consumers/`` under ``headwater/``. An editable installation does
not see files that are put there, so the checkout's own folders are the second place to look.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from headwater.errors import ConfigError


def load_app(name: str) -> ModuleType:
    """The module of an app, such as ``load_app("streams.snapshots")``.

    Raises :class:`ConfigError` where it is in neither place.
    """
    return import_module(app_module(name))


def app_module(name: str) -> str:
    """The full name under which an app can be imported, or run with ``python -m``."""
    top = name.partition(".")[0]
    if find_spec(f"headwater.{top}") is not None:
        return f"headwater.{name}"
    checkout = Path(__file__).resolve().parents[2]
    if find_spec(top) is None and (checkout / top / "__init__.py").is_file():
        sys.path.append(str(checkout))
    if find_spec(top) is None:
        raise ConfigError(f"{name} is not there: install headwater again, from its wheel")
    return name
