"""The demo: agents audit what is installed on this machine while processes are killed under them.

:mod:`plan` deals the work out, :mod:`audit` does it, :mod:`worker` is the process that owns agents,
:mod:`stage` starts and kills processes, :mod:`run` directs them, and :mod:`verdict` compares what
came back with what was acknowledged and with a run that nobody interrupted.
"""
