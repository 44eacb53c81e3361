"""One instance of the strategies as a process of its own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from headwater.config import Config
from headwater.program import until_told

from .corruption import Corruption
from .cut import Partition
from .degradation import Degradation
from .exhaustion import Exhaustion
from .inconsistency import Inconsistency
from .node_failure import NodeFailure
from .notify import make_notifiers
from .quarantine import LIMIT
from .run import Patience
from .service import Handler, Settings
from .strategy import Strategy, user_strategies
from .timeout import Timeout


def built_in(*, quarantine_after: int = LIMIT) -> list[Strategy]:
    """The strategies that come with Headwater, one for each type of failure."""
    return [
        NodeFailure(quarantine_after),
        Partition(),
        Corruption(),
        Degradation(),
        Exhaustion(),
        Timeout(),
        Inconsistency(),
    ]


def run(
    config: Config,
    *,
    webhooks: Sequence[str] = (),
    commands: Sequence[str] = (),
    attempts: int = Patience().attempts,
    quarantine_after: int = LIMIT,
) -> None:
    """Put failures right until SIGTERM or SIGINT; what is under way then is left to the others.

    Escalations go to the log, to the ``webhooks`` and to the ``commands``, which are split as a
    shell does. Raises Headwater's errors for what no retry can mend.
    """
    settings = Settings(
        patience=Patience(attempts=attempts),
        notifiers=make_notifiers(webhooks, [shlex.split(each) for each in commands]),
    )
    strategies = [*built_in(quarantine_after=quarantine_after), *user_strategies()]
    handler = Handler(config, strategies, settings)
    with until_told() as stop:
        handler.run(stop)
