"""The root of the command line: its commands, what is common to all of them, and how errors are told.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 partly done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from surehook.cli.configuration import config
from surehook.cli.doctor import doctor
from surehook.cli.events import events
from surehook.cli.init import init
from surehook.cli.messages import messages
from surehook.cli.migrate import migrate
from surehook.cli.options import FAILED, NOT_FOUND, USAGE, global_options
from surehook.cli.providers import providers
from surehook.cli.records import audit
from surehook.cli.rejections import rejections
from surehook.cli.run import run
from surehook.cli.send import send
from surehook.errors import ConfigurationError, InvalidRequest, NotFound, SurehookError
from surehook.telemetry import printable
from surehook.version import __version__

COMMANDS: Final[Sequence[click.Command]] = (
    init,
    run,
    send,
    events,
    messages,
    rejections,
    audit,
    providers,
    config,
    migrate,
    doctor,
)


class Told(click.ClickException):
    """An error that is told in one message on stderr."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__("\n".join(map(printable, message.splitlines())))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance and declares it on the class


class Root(click.Group):
    """Turns exceptions into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which they are needed."""
        return list(self.commands)

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
    hint = "Set SUREHOOK_DEBUG=1 to see where it comes from, and please report it."
    return Told(f"unexpected {type(error).__name__}: {error}\n{hint}", FAILED)


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


for command in COMMANDS:
    main.add_command(command)
