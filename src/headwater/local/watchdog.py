"""Kills the brokers of a process that has died, whatever it died of.

Run as a script with the owner's pipe as standard input. It leads the process group that the
brokers join, so it needs no list of them, and cannot hit a process that took over a dead one's id:
when the pipe ends without a farewell, it kills its own group. It imports nothing of Headwater and
next to nothing of Python, to be up in 15 ms.
"""

import os
import signal
import sys


def main() -> None:
    """Waits for the pipe to end, and then ends the group; the argument is what to sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1):
        return  # a farewell: the owner has stopped everything itself
    group = os.getpgrp()
    if os.fork() == 0:
        # A child outside the group survives the blow and can sweep up after it.
        os.setpgid(0, 0)
        os.killpg(group, signal.SIGKILL)
        scratch = sys.argv[1]
        if scratch:
            import shutil
            import time

            for _ in range(20):  # the brokers may take a moment to be gone
                shutil.rmtree(scratch, ignore_errors=True)
                if not os.path.exists(scratch):  # noqa: PTH110  (pathlib takes as long as the rest)
                    break
                time.sleep(0.05)
    else:
        signal.pause()


if __name__ == "__main__":
    main()
