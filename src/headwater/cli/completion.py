"""``headwater completion``: what a shell needs to complete commands, options and agent ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print a shell's completion script.

    For bash put `eval "$(headwater completion bash)"` into ~/.bashrc, for zsh the like into
    ~/.zshrc; for fish, `headwater completion fish | source` into ~/.config/fish/config.fish.
    Agent ids are completed, too, from the Kafka that the options and the environment name.
    """
    found = get_completion_class(shell)
    assert found is not None
    script = found(ctx.find_root().command, {}, "headwater", "_HEADWATER_COMPLETE")
    click.echo(script.source())
