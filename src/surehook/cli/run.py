"""``surehook run``: the roles of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from surehook import wiring
from surehook.cli.options import Options, global_options, options_of
from surehook.cli.reload import supervise as reloading
from surehook.cli.tables import print_pairs
from surehook.config import Settings, is_empty, without_password
from surehook.config.addresses import base_url, provider_url
from surehook.config.units import duration_text, milliseconds
from surehook.errors import ConfigurationError
from surehook.version import __version__
from surehook.wiring.supervision import MOST, SHORTEST_STALL, STALL, Plan, supervise, take_slot


def _stall(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        stall = milliseconds(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, parameter) from None
    if stall < SHORTEST_STALL:
        shortest = duration_text(SHORTEST_STALL)
        raise click.BadParameter(
            f"a process is asked once a second: give it at least {shortest}.", ctx, parameter
        )
    return stall


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(wiring.ROLES),
    help="Only this role; may be repeated. Without it, all of them.",
)
@click.option("--host", help="Where ingest listens, instead of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of server.port; 0 is any free one.")
@click.option("--drain-timeout", metavar="DURATION", help='How long a graceful stop may take, e.g. "25s".')
@click.option(
    "--no-migrate", is_flag=True, help="Leave the schema as it is; refuse to start when it is not current."
)
@click.option(
    "--processes",
    type=click.IntRange(1, MOST),
    default=1,
    show_default=True,
    help="How many processes do it, under a parent that starts again what ends.",
)
@click.option(
    "--stall-timeout",
    "stall",
    metavar="DURATION",
    default=duration_text(STALL),
    show_default=True,
    callback=_stall,
    help="Kill one of several processes when its event loop is blocked for so long.",
)
@click.option(
    "--reload", is_flag=True, help="For development: start again when *.py or the configuration changes."
)
@global_options()
@click.pass_context
def run(ctx: click.Context, /, roles: Sequence[wiring.Role], no_migrate: bool, **flags: Any) -> None:
    """Receive, process and deliver. SIGTERM or Ctrl-C stops gracefully, a second one at once."""
    options, slot = options_of(ctx), take_slot(os.environ)
    processes, stall, reload = flags.pop("processes"), flags.pop("stall"), flags.pop("reload")
    if not options.colour:
        os.environ["NO_COLOR"] = "1"  # for the logs
    if reload:
        _require_configuration(options)
        many = [f"--processes={processes}", f"--stall-timeout={stall}ms"]
        ctx.exit(reloading([*_child_arguments(options, roles, no_migrate, flags), *many], options))
    loaded = options.load(**{f"server__{name}": value for name, value in flags.items()})
    _require_configuration(options)
    wanted = roles or wiring.ROLES
    if sys.stdout.isatty() and slot is None:
        print_banner(loaded.settings, wanted, colour=options.colour)
    if processes > 1:
        command = command_of(_child_arguments(options, wanted, True, flags))
        ctx.exit(supervise(loaded.settings, Plan(command, processes, wanted, not no_migrate, stall)))
    ctx.exit(wiring.run(loaded.settings, wanted, migrate=not no_migrate, slot=slot))


def _require_configuration(options: Options) -> None:
    """Raise ConfigurationError where nothing at all is configured: it is the wrong folder, and a database would be made."""
    if options.database is None and is_empty(options.config, os.environ):
        raise ConfigurationError(
            f"there is no surehook.toml in {Path.cwd()}. `surehook init` writes one; --config (or SUREHOOK_CONFIG) names "
            "another; without any file, name at least the database: --database sqlite:///PATH or postgresql://..."
        )


def print_banner(settings: Settings, roles: Sequence[str], *, colour: bool) -> None:
    """What runs, and where it is reached."""
    click.secho(f"Surehook {__version__}", bold=colour or None)
    print_pairs(_facts(settings, roles), colour=colour)
    click.echo()


def _facts(settings: Settings, roles: Sequence[str]) -> Iterator[tuple[str, object]]:
    yield "roles", ", ".join(roles)
    yield "database", without_password(settings.database)
    if "ingest" in roles:
        for name, provider in settings.providers.items():
            if provider.enabled:
                yield "webhooks", _reached(provider_url(settings, name), settings.server.port)
    if "console" in roles:
        url = base_url(settings.console.host, settings.console.port) + "/readyz"
        yield "health", _reached(url, settings.console.port)
    if "worker" in roles:
        for handler in wiring.load_app(settings).handlers:
            yield "handler", f"{handler.name} for {handler.provider} {handler.type}"


def _reached(url: str, port: int) -> str:
    """A URL; where the system chooses the port, only its path, for the port is not known yet."""
    return url if port else f"{urlsplit(url).path} (its port: see the line 'surehook is ready')"


def _child_arguments(
    options: Options, roles: Sequence[str], no_migrate: bool, flags: Mapping[str, object]
) -> list[str]:
    """The same command for one process, without ``--reload``."""
    given: dict[str, object] = {"config": options.config, "database": options.database, **flags}
    values = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    switches = [*(["--no-migrate"] if no_migrate else []), *([] if options.colour else ["--no-color"])]
    return ["run", *values, *(f"--role={role}" for role in roles), *switches]


def command_of(arguments: Sequence[str]) -> list[str]:
    """How a process of ours is started: as this one was, with the working directory among the modules or without."""
    safe = [] if Path(sys.argv[0]).name == "__main__.py" else ["-P"]
    return [sys.executable, *safe, "-m", "surehook", *arguments]
