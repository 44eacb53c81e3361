"""The ``headwater`` command: its options, its commands (each loaded when used), and what it exits
with.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

try:
    import click
except ModuleNotFoundError:
    sys.exit("headwater's command line needs its extra: pip install 'headwater[cli]'")

from headwater.cli.errors import Exit, exit_code
from headwater.config import PROFILES
from headwater.errors import HeadwaterError

log = logging.getLogger("headwater.cli")

COMMANDS = {
    "up": ("headwater.cli.up:up", "Start everything: a local Kafka and what works on it."),
    "demo": ("headwater.cli.demo:demo", "Watch agents work, be killed, and lose nothing."),
    "node": ("headwater.cli.node:node", "Run nodes, and tell them what to do."),
    "start": ("headwater.cli.running:start", "Have nodes run agents."),
    "stop": ("headwater.cli.running:stop", "Have agents given up, until they are started again."),
    "pause": ("headwater.cli.running:pause", "Let no further step of agents begin."),
    "resume": ("headwater.cli.running:resume", "Go on with agents that were paused."),
    "migrate": ("headwater.cli.running:migrate", "Move agents to another node."),
    "agents": ("headwater.cli.agents:agents", "List the agents."),
    "nodes": ("headwater.cli.nodes:nodes", "List the nodes: what they run and how they are."),
    "locate": ("headwater.cli.nodes:locate", "Tell which node runs an agent."),
    "show": ("headwater.cli.show:show", "Show an agent's state."),
    "history": (
        "headwater.cli.history:history",
        "Show what happened to an agent, record by record.",
    ),
    "snapshots": (
        "headwater.cli.snapshots:snapshots",
        "List the snapshots of an agent, newest first.",
    ),
    "diff": ("headwater.cli.diff:diff", "Show what changed between two moments of an agent."),
    "fork": ("headwater.cli.fork:fork", "Make a new agent from a moment of another one."),
    "restore": ("headwater.cli.restore:restore", "Put an agent back to a moment of its past."),
    "checkpoint": (
        "headwater.cli.checkpoint:checkpoint",
        "Keep moments of agents, and take them elsewhere.",
    ),
    "recover": ("headwater.cli.recover:recover", "Recover agents, and tell what that took."),
    "verify": ("headwater.cli.verify:verify", "Replay the log and prove what recovery gives."),
    "repair": (
        "headwater.cli.repair:repair",
        "Have an agent go on from its last state that is proved.",
    ),
    "replay": (
        "headwater.cli.replay:replay",
        "Run recorded events through new code, and compare.",
    ),
    "backup": ("headwater.cli.backup:backup", "Keep a second copy of all agents elsewhere."),
    "restore-cluster": (
        "headwater.cli.restore_cluster:restore_cluster",
        "Fill an empty cluster from a backup.",
    ),
    "compact": ("headwater.cli.compact:compact", "Run the compactor."),
    "prune": ("headwater.cli.prune:prune", "Delete what is not to be kept any more."),
    "retain": ("headwater.cli.prune:retain", "Run retention: prune again and again."),
    "insights": ("headwater.cli.insights:insights", "Publish metrics of the fleet."),
    "heal": ("headwater.cli.heal:heal", "Put failures right, or tell a person."),
    "failures": ("headwater.cli.failures:failures", "List the failures that are not over."),
    "incident": (
        "headwater.cli.failures:incident",
        "Show a failure from its first symptom to the last action.",
    ),
    "acknowledge": (
        "headwater.cli.escalations:acknowledge",
        "Say that somebody looks at a failure.",
    ),
    "resolve": (
        "headwater.cli.escalations:resolve",
        "Give a failure back to automation.",
    ),
    "detect": ("headwater.cli.detect:detect", "Run a detector of failures."),
    "kafka": ("headwater.cli.kafka:kafka", "Start, stop and look at a local Apache Kafka."),
    "drill": ("headwater.cli.drill:drill", "Rehearse failures, and measure what comes of them."),
    "doctor": ("headwater.cli.doctor:doctor", "Find what is wrong, and say what to do."),
    "completion": ("headwater.cli.completion:completion", "Print a shell's completion script."),
}
"""Where each command is at home, and its line in the help: in the order of the help."""


class Headwater(click.Group):
    """The group of all commands, and the one place where errors become messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            return cast("click.Command", getattr(import_module(module), name))
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "headwater":
                raise
            raise click.ClickException(
                f"`headwater {cmd_name}` needs {error.name}: pip install 'headwater[cli,local]'"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands' part of the help, without loading one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "headwater",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; in standalone mode ends the process with one of :class:`Exit`."""
        prog_name = prog_name or "headwater"
        run = partial(super().main, args, prog_name, complete_var, False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_guarded(run))


def _guarded(run: Callable[[], Any]) -> int:
    try:
        code = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        _say("interrupted")
        return Exit.INTERRUPTED
    except HeadwaterError as error:
        log.debug("where the error came from", exc_info=True)
        _say(str(error))
        return exit_code(error)
    except Exception as error:
        log.debug("where the error came from", exc_info=True)
        _say(
            f"a fault in headwater itself: {error!r}; run it again as `headwater -vv` to see where"
        )
        return Exit.FAILED
    return code if isinstance(code, int) else Exit.OK


def _say(text: str) -> None:
    click.echo(f"headwater: {text}", err=True)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    try:
        number = version("headwater")
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"headwater {number}")
    ctx.exit()


@click.group(cls=Headwater, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--bootstrap-servers",
    metavar="HOST:PORT,...",
    help="Kafka's address. Default: HEADWATER_BOOTSTRAP_SERVERS, else a local Kafka that runs.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="A TOML file with settings. Default: HEADWATER_CONFIG.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    help="How fast a silent owner is given up. Default: HEADWATER_PROFILE.",
)
@click.option("--prefix", help="What the topics' names begin with. Default: headwater.")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Say more on stderr; -vv says everything, tracebacks too.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, /, verbose: int, **_: Any) -> None:
    """Durable, self-recovering state for AI agents on Apache Kafka.

    Results go to stdout and talk to stderr. Exit codes: 0 success, 1 an item failed, 2 usage or
    configuration, 3 not found, 4 authentication, 5 timeout, 130 interrupted.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Other libraries' debugging would drown ours.
    logging.getLogger("headwater").setLevel(level)


def main() -> None:
    """The console script."""
    cli()
