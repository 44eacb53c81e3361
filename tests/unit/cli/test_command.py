"""The command itself: what it loads, how it fails, and that its documentation is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from headwater import errors
from headwater.cli import COMMANDS, Headwater, cli
from headwater.cli.errors import AuthenticationRefused, Exit, NothingYet, exit_code

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("confluent_kafka", "fastavro", "asyncio", "rich", "headwater.local", "headwater.client")


def commands(
    command: click.Command = cli, path: str = "headwater"
) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, the group itself first."""
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from commands(found, f"{path} {name}")


EVERY = dict(commands())


def section(text: str, heading: str) -> str:
    """A page's text under a heading, up to the next heading."""
    found = re.search(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"docs/cli.md has no heading {heading!r}"
    return found[1]


@pytest.mark.parametrize("name", EVERY)
def test_every_command_and_option_is_documented(name: str) -> None:
    """docs/cli.md has a section for each command, with each of its options and an example."""
    command = EVERY[name]
    page = (ROOT / "docs/cli.md").read_text()
    text = section(page, f"`{name}`")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert f"`{option}" in text, f"{option} of `{name}` is not in docs/cli.md"
    if not isinstance(command, click.Group):
        assert f"$ {name}" in text, f"docs/cli.md has no example of `{name}`"


def test_help_loads_nothing_heavy() -> None:
    """`headwater --help` imports neither Kafka's client nor anything else that takes long."""
    code = (
        "import sys\nfrom headwater.cli import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True
    )
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_no_command_needs_kafka_to_show_its_help() -> None:
    """Each command's module loads without Kafka's client, so that its help comes at once."""
    code = (
        "import sys\nfrom headwater.cli import COMMANDS, cli\nimport click\n"
        "for name in COMMANDS: cli.get_command(click.Context(cli), name)\n"
        "print('confluent_kafka' in sys.modules)"
    )
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HeadwaterError("x"), Exit.FAILED),
        (errors.AgentNotFound("x"), Exit.NOT_FOUND),
        (NothingYet("x"), Exit.NOT_FOUND),
        (errors.ConfigError("x"), Exit.USAGE),
        (errors.TopicMismatch("x"), Exit.USAGE),
        (AuthenticationRefused("x"), Exit.AUTHENTICATION),
        (errors.Unavailable("x"), Exit.TIMEOUT),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ZeroDivisionError("x"), Exit.FAILED),
    ],
    ids=repr,
)
def test_errors_become_exit_codes(error: BaseException, code: Exit) -> None:
    """Each error ends the command with its documented code and a line, without a traceback."""

    @click.command()
    def failing() -> None:
        raise error

    class Group(Headwater):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return failing

    group = Group("headwater")
    result = CliRunner().invoke(group, ["failing"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert result.stderr.strip()


def test_kafkas_refusal_is_told_from_other_configuration_errors() -> None:
    """An error that Kafka's refusal of the credentials caused exits with 4, not 2."""
    from confluent_kafka import KafkaError, KafkaException

    error = errors.ConfigError("refused")
    error.__cause__ = KafkaException(KafkaError(KafkaError._AUTHENTICATION))
    assert exit_code(error) is Exit.AUTHENTICATION
    error.__cause__ = KafkaException(KafkaError(KafkaError.INVALID_CONFIG))
    assert exit_code(error) is Exit.USAGE


@pytest.mark.parametrize("arguments", [["frob"], ["--frob"], ["--profile", "odd", "agents"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """Unknown commands, options and values are usage errors."""
    assert CliRunner().invoke(cli, arguments).exit_code == Exit.USAGE


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts_call_the_command(shell: str) -> None:
    """The scripts are those of the installed command's name."""
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == Exit.OK
    assert "_HEADWATER_COMPLETE" in result.stdout


def test_colour_needs_a_terminal_and_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour is taken out where NO_COLOR is set, even on a terminal that would take it."""

    @click.command()
    def colourful() -> None:
        click.echo(click.style("text", fg="red"))

    group = cli
    monkeypatch.setattr(type(group), "get_command", lambda self, ctx, name: colourful)
    assert "\x1b" in CliRunner().invoke(group, ["colourful"], color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(group, ["colourful"], color=True).output
