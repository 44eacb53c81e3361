"""Insights: what the fleet does, in windows of time, on the ``metrics`` topic.

Heartbeats, outcomes and the compactor's commits become samples (:mod:`.samples`), samples are
counted in panes of a few seconds for each source (:mod:`.board`), and the panes of a window are
put together to its metrics (:mod:`.cells`). All of that is pure; :mod:`.app` is the Faust app
around it, and :mod:`.supervisor` keeps that running.
"""
