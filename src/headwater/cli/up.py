"""``headwater up``: Kafka and what works on it, with one command, for as long as it runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from headwater.cli.context import environment, explained, load_config, quiet
from headwater.cli.errors import Exit
from headwater.cli.output import say
from headwater.config import Config
from headwater.errors import ConfigError, HeadwaterError, Unavailable

if TYPE_CHECKING:
    from headwater.cli.supervise import Supervisor
    from headwater.local import LocalKafka

_LOOK_S = 0.2
_UNUSED = "localhost:1"
_BESIDE = {"retention": "retain", "detector": "detect", "strategies": "heal"}
"""What runs beside the compactors, an instance of each."""


@click.command()
@click.option(
    "--brokers",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="How many brokers the local Kafka has; three replicate.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    help="Partitions for agents, when the topics are made. Default: 12.",
)
@click.option(
    "--compactors",
    type=click.IntRange(0, 16),
    default=1,
    show_default=True,
    help="How many compactor processes share the partitions.",
)
@click.option("--temporary", is_flag=True, help="Keep the data only as long as this runs.")
@click.pass_context
def up(
    ctx: click.Context, /, brokers: str, partitions: int | None, compactors: int, temporary: bool
) -> None:
    """Start everything: a local Kafka, compactor, retention, detector and strategies.

    Where a Kafka is named (--bootstrap-servers, HEADWATER_BOOTSTRAP_SERVERS) or the local one
    runs already, that is used. Runs until Ctrl-C (exit code 130) or SIGTERM (0), and stops
    whatever it started; nothing outlives it, not even a SIGKILL. Data stays in your data
    directory for the next time.
    """
    from headwater.cli.supervise import Supervisor

    with _signals(), _kafka(int(brokers), temporary) as kafka:
        config = load_config(
            bootstrap_servers=kafka.address, partitions=partitions, create_topics=True
        )
        _prepare(config)
        with Supervisor() as supervisor:
            for number in range(1, compactors + 1):
                _add_worker(ctx, supervisor, config, f"compactor {number}", "compact")
            if compactors:
                for name, command in _BESIDE.items():
                    _add_worker(ctx, supervisor, config, name, command)
            _announce(config, compactors)
            try:
                _run(supervisor, kafka.ours)
            finally:
                _ignore_signals()
                say("stopping ...")
    ctx.exit(Exit.OK)


@dataclass(slots=True)
class _Kafka:
    """The Kafka that is used; ``ours`` when this command started it."""

    address: str
    ours: LocalKafka | None = None


@contextmanager
def _kafka(brokers: int, temporary: bool) -> Iterator[_Kafka]:
    from headwater.local import LocalKafka, data_dir

    if address := _named():
        say(f"Using the Kafka at {address}.")
        yield _Kafka(address)
        return
    directory = data_dir(brokers)
    running = None if temporary else LocalKafka.find(directory)
    if running is not None and running.status.running:
        say(f"Using the local Kafka that runs already, at {running.bootstrap_servers}.")
        yield _Kafka(running.bootstrap_servers)
        return
    count = "one broker" if brokers == 1 else f"{brokers} brokers"
    where = "temporary data" if temporary else f"data in {directory}"
    say(f"Starting a local Kafka: {count}, {where} ...")
    with LocalKafka(brokers, data_dir=None if temporary else directory) as kafka:
        yield _Kafka(kafka.bootstrap_servers, kafka)


def _named() -> str | None:
    """The address that options, environment or file name; a running local Kafka is not named."""
    from headwater.local import SIZES, LocalKafka, data_dir

    load_config(bootstrap_servers=_UNUSED)  # whatever else is wrong with the settings says so now
    try:
        address = load_config().bootstrap_servers
    except ConfigError:
        return None
    local = (LocalKafka.find(data_dir(size)) for size in SIZES)
    return None if address in [each.bootstrap_servers for each in local if each] else address


def _prepare(config: Config) -> None:
    from headwater.cli.diagnosis import missing_topics
    from headwater.topics import connect_fleet

    quiet("headwater.kafka")
    try:
        if missing := missing_topics(config):
            say(f"Making topics {', '.join(missing)} ...")
        spread = connect_fleet(config)
    except Unavailable as error:
        raise explained(config, error) from error
    say(f"Topics {config.prefix}* are there; agents are spread over {spread} partitions.")


def _add_worker(
    ctx: click.Context, supervisor: Supervisor, config: Config, name: str, command: str
) -> None:
    from headwater.cli.supervise import headwater_command

    verbose = ["-v"] * ctx.find_root().params.get("verbose", 0)
    environ = environment(ctx) | {
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        # Two processes under one name would be taken for one.
        "HEADWATER_NODE_ID": f"{config.node_id}-{name.replace(' ', '-')}",
    }
    supervisor.add(name, headwater_command(*verbose, command), environ)


def _announce(config: Config, compactors: int) -> None:
    count = "1 compactor runs" if compactors == 1 else f"{compactors} compactors run"
    say(f"Kafka is up and {count}. Ctrl-C stops all. In another terminal:")
    say("")
    click.echo(f"export HEADWATER_BOOTSTRAP_SERVERS={config.bootstrap_servers}")
    if config.prefix != "headwater.":
        click.echo(f"export HEADWATER_PREFIX={config.prefix}")
    say("")
    say("and try:  headwater demo   |   headwater agents   |   headwater doctor")


def _run(supervisor: Supervisor, kafka: LocalKafka | None) -> None:
    while True:
        supervisor.tend()
        if kafka is not None:
            _tend_brokers(kafka)
        time.sleep(_LOOK_S)


def _tend_brokers(kafka: LocalKafka) -> None:
    for node in kafka.status.nodes:
        if node.pid is None:
            say(f"broker {node.id} has ended; starting it again (its log: {node.log})")
            try:
                kafka.start_node(node.id)
            except HeadwaterError as error:
                say(str(error))
                time.sleep(1.0)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block in order, as Ctrl-C does."""
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(Exit.OK)


def _ignore_signals() -> None:
    # Stopping takes a second or two. Whoever cannot wait has SIGKILL: the watchdogs see to it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
