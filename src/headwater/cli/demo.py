"""``headwater demo``: agents work, are killed, and lose nothing."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import as_json, environment
from headwater.cli.errors import Exit
from headwater.cli.output import emit_json, emit_table, plain_text, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from headwater.demo.run import Result

_COLUMNS = ("agent", "steps", "restarted", "repeated", "lost", "recovery", "state hash")


@click.command()
@click.option(
    "--agents",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="How many agents share the work; fewer where there is less to share.",
)
@click.option(
    "--workers",
    type=click.IntRange(2, 16),
    default=3,
    show_default=True,
    help="How many processes they run in.",
)
@click.option(
    "--steps",
    type=click.IntRange(10, 2000),
    default=60,
    show_default=True,
    help="About how many steps an agent has.",
)
@as_json
@click.pass_context
def demo(ctx: click.Context, agents: int, workers: int, steps: int, as_json: bool) -> None:
    """Watch agents work, be killed, and lose nothing.

    Agents audit every Python distribution that is installed here, a step at a time: is each file
    as it was installed, is every dependency there, what is the licence. Each step is one change of
    the agent's state. In the middle of it a worker process is killed with SIGKILL, and the
    compactor too. At the end each agent's recovered state is compared with the workers' own record
    and with a run that nobody interrupted. Exits with 1 if anything is lost, repeated or different.
    """
    import os

    from headwater.demo.run import Settings, run

    os.environ.update(environment(ctx))  # the processes that it starts read it there
    settings = Settings(agents=agents, workers=max(workers, 2), steps=steps)
    with _Narrator() as narrator:
        result = run(settings, narrator)
    if as_json:
        emit_json(result.to_json())
    else:
        _show(result)
    for problem in result.problems:
        say(f"headwater: {problem}")
    ctx.exit(Exit.OK if result.good else Exit.FAILED)


def _show(result: Result) -> None:
    rows = []
    for each in result.verdicts:
        recovery = "" if each.recovery_ms is None else f"{each.recovery_ms:.0f} ms"
        equal = "equal" if each.hash_equal else "DIFFERENT"
        steps = f"{each.steps}/{each.planned}"
        rows.append((each.id, steps, each.restarted, each.repeated, each.lost, recovery, equal))
    emit_table(_COLUMNS, rows, right="steps restarted repeated lost recovery")
    click.echo(_summary(result.to_json()))


def _summary(found: dict[str, Any]) -> str:
    audit = found["audit"]
    states = "equal" if found["hash_equal"] else "DIFFERENT"
    return (
        f"\n{found['steps']} steps, {found['restarted']} begun again, {found['repeated']} repeated,"
        f" {found['lost']} lost, states {states}, in {found['seconds']:.1f} s. The audit: "
        f"{audit['verified']} of {audit['files']} files of {audit['distributions']} distributions "
        f"verified, {audit['problems']} remarks."
    )


class _Narrator:
    """Talks on stderr; on a terminal with a bar that counts the steps."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._context: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> _Narrator:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._context = self._bar
        self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def say(self, text: str) -> None:
        """Tell one thing."""
        if self._bar is None:
            say(text)
        else:
            self._bar.console.print(plain_text(text), markup=False, highlight=False)

    def steps(self, total: int) -> None:
        """Begin to count steps."""
        if self._bar is not None:
            self._bar.add_task("steps", total=total)

    def advance(self, count: int) -> None:
        """So many more steps were acknowledged."""
        if self._bar is not None and self._bar.task_ids:
            self._bar.advance(self._bar.task_ids[0], count)
