"""Backups: the records that agents are recovered from, kept a second time on a storage tier."""

from headwater.backup.archive import Archive
from headwater.backup.format import Item, Kept, Segment, encode_segment, open_segment
from headwater.backup.names import Manifest, Offsets, SegmentName

__all__ = [
    "Archive",
    "Item",
    "Kept",
    "Manifest",
    "Offsets",
    "Segment",
    "SegmentName",
    "encode_segment",
    "open_segment",
]
