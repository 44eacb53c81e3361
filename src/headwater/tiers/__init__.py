"""Bytes by key on memory, files and object stores, databases or Kafka: one interface, one promise.

A save is whole or has not happened, and a load returns what was saved or raises. Implementations
are imported when their URL is opened.
"""

from headwater.tiers.envelope import MAX_VALUE_BYTES
from headwater.tiers.store import Entry, Store
from headwater.tiers.tier import Tier
from headwater.tiers.urls import open_tier

__all__ = ["MAX_VALUE_BYTES", "Entry", "Store", "Tier", "open_tier"]
