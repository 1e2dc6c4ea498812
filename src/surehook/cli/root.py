"""The root of the command line: its commands, what is common to all of them, and how errors are told.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 partly done.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, Final

import click

from surehook.version import __version__
from surehook.cli.options import FAILED, NOT_FOUND, USAGE, global_options
from surehook.errors import ConfigurationError, InvalidRequest, NotFound, SurehookError, did_you_mean

#: Commands and where they are. Their modules are loaded when they are called: some need much, most need little.
COMMANDS: Final = {
    "init": "surehook.cli.init:init",
    "run": "surehook.cli.run:run",
    "send": "surehook.cli.send:send",
    "events": "surehook.cli.events:events",
    "messages": "surehook.cli.messages:messages",
    "rejections": "surehook.cli.records:rejections",
    "audit": "surehook.cli.records:audit",
    "providers": "surehook.cli.providers:providers",
    "config": "surehook.cli.configuration:config",
    "migrate": "surehook.cli.migrate:migrate",
}


class Told(click.ClickException):
    """An error that is told in one message on stderr."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


class Root(click.Group):
    """Loads commands when they are asked for, and turns exceptions into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which they are needed."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, or None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown name gets a hint."""
        if args and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. With SUREHOOK_DEBUG=1 exceptions keep their traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("SUREHOOK_DEBUG"):
                raise
            raise told(error) from error


def told(error: Exception) -> Told:
    """The message and exit code for an exception."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return Told(str(error), code)
    return Told(
        f"unexpected {type(error).__name__}: {error}\nSet SUREHOOK_DEBUG=1 to see where it comes from, and please report it.",
        FAILED,
    )


_CODES: Final[Mapping[type[Exception], int]] = {
    NotFound: NOT_FOUND,
    ConfigurationError: USAGE,
    InvalidRequest: USAGE,
    SurehookError: FAILED,
    OSError: FAILED,
}


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 partly done.",
)
@global_options(hidden=False)
@click.version_option(__version__, prog_name="surehook", message="%(prog)s %(version)s")
def main() -> None:
    """Reliable incoming webhooks: verified, stored once, processed in one transaction, delivered."""
