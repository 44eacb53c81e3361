"""Holds a backup against the cluster: one place keeps the backup of one set of topics."""

from __future__ import annotations

from headwater.backup.archive import Archive
from headwater.backup.names import Manifest
from headwater.errors import ConfigError

from .source import Source


def begin(archive: Archive, source: Source) -> Manifest:
    """The backup's manifest, made where there is none. Raises :class:`ConfigError` where it is
    one of other topics.
    """
    ours = source.manifest()
    theirs = archive.begin(ours)
    if theirs != ours:
        raise ConfigError(
            f"there is a backup already, of {theirs.prefix}* in cluster {theirs.cluster_id} "
            f"({theirs.partitions} partitions), and this is {ours.prefix}* in cluster "
            f"{ours.cluster_id} ({ours.partitions} partitions), or topics made anew: choose "
            "another place for it"
        )
    return theirs
