"""What commands share: settings from the global options, and a connection that only reads."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.errors import AuthenticationRefused, NothingYet, is_refusal
from headwater.config import Config
from headwater.errors import HeadwaterError, TopicMismatch, Unavailable

if TYPE_CHECKING:
    from headwater.client import Client
    from headwater.recovery import Recovery

_COMPLETION_TIMEOUT = timedelta(seconds=3)
_REASON_S = 2.0

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def environment(ctx: click.Context | None = None) -> dict[str, str]:
    """The environment, with what the global options say in its variables: for a child process,
    and for :meth:`Config.load`.
    """
    options = (ctx or click.get_current_context()).find_root().params
    environ = dict(os.environ)
    for name in ("bootstrap_servers", "config", "profile", "prefix"):
        if options.get(name) is not None:
            environ[f"HEADWATER_{name.upper()}"] = options[name]
    return environ


def load_config(ctx: click.Context | None = None, **settings: Any) -> Config:
    """Settings from file, environment, the global options and, above all, ``settings``."""
    return Config.load(environment(ctx), **settings)


@contextmanager
def reading(config: Config, *, follow_index: bool = False) -> Iterator[Recovery]:
    """A connection that makes no topic and writes nothing.

    Raises :class:`NothingYet` on a cluster without any of Headwater's topics.
    """
    from headwater.recovery import Recovery

    quiet("headwater.kafka")
    recovery = Recovery(config, connect(config), follow_index)
    try:
        yield recovery
    finally:
        recovery.close()


@contextmanager
def connected(config: Config) -> Iterator[Client]:
    """A connection that writes, too, to topics that are there already.

    Raises :class:`NothingYet` on a cluster without any of Headwater's topics.
    """
    import headwater

    quiet("headwater.kafka")
    connect(config)
    with headwater.connect(config.with_(create_topics=False)) as client:
        yield client


def quiet(*loggers: str) -> None:
    """Keep these logs off stderr unless -v asks for them: the command itself reports what counts,
    once.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None or not ctx.find_root().params.get("verbose"):
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(config: Config) -> int:
    """Check the topics, making none; the number of partitions over which agents are spread."""
    from headwater.topics import connect_topics

    try:
        return connect_topics(config.with_(create_topics=False))
    except Unavailable as error:
        raise explained(config, error) from error
    except TopicMismatch as error:
        if _has_topics(config):
            raise
        raise NothingYet(
            f"{config.bootstrap_servers} holds no topic {config.prefix}*: nothing was ever "
            "published there; `headwater up` or `headwater doctor --fix` makes the topics"
        ) from error


def connect_to_fleet(config: Config) -> None:
    """Check the fleet's topics, making none. Raises :class:`NothingYet` where no node, detector
    or strategy ever ran.
    """
    from headwater.topics import connect_fleet

    quiet("headwater.kafka")
    connect(config)
    try:
        connect_fleet(config.with_(create_topics=False))
    except TopicMismatch as error:
        raise NothingYet(
            f"{config.bootstrap_servers} has no topics of a fleet under {config.prefix}*: no node "
            "ever ran there; `headwater node run` makes them"
        ) from error


def explained(config: Config, error: Unavailable) -> HeadwaterError:
    """``error`` with the reason that the client's own news give, where they tell one."""
    from headwater.kafka.clients import admin

    news: list[Any] = []
    client = admin(config.with_(kafka={**config.kafka, "error_cb": news.append}))
    deadline = time.monotonic() + _REASON_S
    while time.monotonic() < deadline and not any(map(is_refusal, news)):
        client.poll(0.1)
        if news and time.monotonic() > deadline - _REASON_S / 2:
            break
    refusals = [each for each in news if is_refusal(each)]
    if refusals:
        return AuthenticationRefused(
            f"{config.bootstrap_servers} refuses the connection: {refusals[0].str()}; check "
            "security.protocol, the credentials and the access rights"
        )
    reasons = "; ".join(dict.fromkeys(each.str() for each in news))
    return Unavailable(f"no Kafka answers at {config.bootstrap_servers}: {reasons or error}")


def _has_topics(config: Config) -> bool:
    from headwater.kafka.clients import admin

    topics = admin(config).list_topics(timeout=config.read_timeout.total_seconds()).topics
    return any(name.startswith(config.prefix) for name in topics)


def complete_agent_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The ids that begin with what was typed; none where Kafka does not answer quickly."""
    from headwater.recovery.bulk import agent_ids

    try:
        with reading(load_config(ctx, read_timeout=_COMPLETION_TIMEOUT)) as recovery:
            return sorted(each for each in agent_ids(recovery) if each.startswith(incomplete))
    except HeadwaterError:
        return []


def agent_argument(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """An argument that is an agent's id, or several; completed from the log."""
    return click.argument(name, metavar="ID", shell_complete=complete_agent_ids, **attributes)
