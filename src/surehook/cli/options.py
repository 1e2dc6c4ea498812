"""Options and arguments that several commands share."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from surehook.config import Loaded, load
from surehook.ids import parse_typeid

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
PARTIAL: Final = 4

#: The shortest reason for an action that the audit trail takes.
SHORTEST_REASON: Final = 10

Command = TypeVar("Command", bound=Callable[..., Any])


class Options:
    """What was said on the command line, wherever it stood."""

    def __init__(self) -> None:
        self.config: Path | None = None
        self.database: str | None = None
        self.colour = not os.environ.get("NO_COLOR")

    def load(self, **flags: object) -> Loaded:
        """The settings. ``flags`` have ``__`` in place of dots. Raises ConfigurationError."""
        return load(self.config, os.environ, self.overrides(**flags))

    def overrides(self, **flags: object) -> Mapping[str, object]:
        """The flags as settings."""
        named = {name.replace("__", "."): value for name, value in flags.items()}
        return {"database": self.database, **named}


def global_options(*, hidden: bool = True) -> Callable[[Command], Command]:
    """``--config``, ``--database`` and ``--no-color``: for the root, and hidden for commands, so that both places work."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option(
                "--no-color",
                is_flag=True,
                expose_value=False,
                hidden=hidden,
                callback=_keep,
                help="No colours. Also: NO_COLOR.",
            ),
            click.option(
                "--database",
                metavar="URL",
                expose_value=False,
                hidden=hidden,
                callback=_keep,
                help="sqlite:///PATH, postgresql://USER@HOST/NAME, or env:VARIABLE for one of them.",
            ),
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(path_type=Path),
                expose_value=False,
                hidden=hidden,
                callback=_keep,
                help="The configuration file, instead of ./surehook.toml. Also: SUREHOOK_CONFIG.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def options_of(ctx: click.Context) -> Options:
    """The options of this call of the command line."""
    found: Options = ctx.find_root().ensure_object(Options)
    return found


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    options = options_of(ctx)
    if parameter.name == "no_color":
        options.colour = options.colour and not value
    elif value is not None and parameter.name is not None:
        setattr(options, parameter.name, value)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def limit_option(default: int) -> Callable[[Command], Command]:
    """How many rows to list."""
    return click.option(
        "--limit",
        type=click.IntRange(1, 10_000),
        default=default,
        show_default=True,
        help="How many at most.",
    )


class TypeId(click.ParamType[bytes]):
    """An id such as ``evt_01k...``, as its 16 bytes."""

    name = "id"

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes of a text."""
        if isinstance(value, bytes):
            return value
        try:
            return parse_typeid(self.prefix, value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def action_options(command: Command) -> Command:
    """Who does it and why, for the audit trail."""
    reason = click.option(
        "--reason",
        required=True,
        callback=_check_reason,
        help=f"Why; at least {SHORTEST_REASON} characters, kept in the audit trail.",
    )
    actor = click.option("--actor", default=_user, show_default="the system's user", help="Who.")
    return reason(actor(command))


def _check_reason(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    reason = value.strip()
    if len(reason) < SHORTEST_REASON:
        raise click.BadParameter(
            f"say in at least {SHORTEST_REASON} characters why, for whoever reads the audit trail later.",
            ctx,
            parameter,
        )
    return reason


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a container's user without a name
