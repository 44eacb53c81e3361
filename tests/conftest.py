"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile("headwater", deadline=None, print_blob=True)
settings.load_profile("headwater")
