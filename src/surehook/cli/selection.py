"""Which rows a command is meant for: those that are named, or those of a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from surehook.clock import Millis, SystemClock
from surehook.config import Settings
from surehook.config.units import milliseconds
from surehook.errors import ConfigurationError
from surehook.ingest.readmission import Providers
from surehook.model import EventRow, RejectionRow, RowFilter
from surehook.packs import Provider, build_provider
from surehook.secrets import resolve
from surehook.wiring.keys import key_fetcher

Command = TypeVar("Command", bound=Callable[..., Any])

#: Rows that are looked up at once, and that one transaction may move.
PAGE: Final = 25


class Since(click.ParamType[Millis]):
    """How long ago (``2h``), or when (``2026-09-21T14:00``, UTC where no zone is given)."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Millis:
        """The moment."""
        if isinstance(value, int):
            return Millis(value)
        try:
            read = datetime.fromisoformat(value)
            return Millis(round((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000))
        except ValueError:
            pass
        try:
            return Millis(SystemClock().now() - milliseconds(value))
        except ValueError:
            self.fail(
                f"{value!r} is neither a duration such as 2h nor a time such as 2026-09-21T14:00.", param, ctx
            )


def selection_options(command: Command) -> Command:
    """``--provider`` and ``--since``, for commands that take ids or these."""
    provider = click.option("--provider", help="All of this provider, instead of ids.")
    since = click.option(
        "--since",
        type=Since(),
        metavar="WHEN",
        help="With --provider: only those that came since then: 2h (ago), or 2026-09-21T14:00.",
    )
    return provider(since(command))


def check_selection(ids: Sequence[bytes], provider: str | None, since: Millis | None) -> None:
    """Raise UsageError unless either ids or a provider are given."""
    if bool(ids) == (provider is not None) or (since is not None and provider is None):
        raise click.UsageError("name ids, or a --provider (and --since): one of both.")


async def ids_of(
    look: Callable[[RowFilter], Awaitable[Sequence[EventRow] | Sequence[RejectionRow]]], wanted: RowFilter
) -> list[bytes]:
    """The ids of all rows that a filter lets through, oldest first; the filter's limit is the size of a page."""
    found: list[bytes] = []
    while page := await look(wanted):
        found += [row.id for row in page]
        wanted = RowFilter(**{**_fields(wanted), "before": found[-1]})
    return found[::-1]


def _fields(wanted: RowFilter) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in wanted.__struct_fields__}


def pages(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The ids in pieces, each once."""
    unique = list(dict.fromkeys(ids))
    for start in range(0, len(unique), PAGE):
        yield unique[start : start + PAGE]


def providers_of(settings: Settings) -> Providers:
    """Every configured provider, built from the present settings, or why it cannot be built."""
    found: dict[str, Provider | ConfigurationError] = {}
    for name, own in settings.providers.items():
        try:
            found[name] = build_provider(name, own, resolve, settings.server, key_fetcher())
        except ConfigurationError as error:
            found[name] = error
    return found
