"""Drills: failures are brought about on purpose, and what comes of them is measured and kept.

On shadow agents, copies that harmless steps drive in nodes of the drill's own, or on a real node.
See ``docs/drills.md``.
"""
