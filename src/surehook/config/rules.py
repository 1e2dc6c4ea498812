"""What must hold between settings. A rule is not asked where a value it needs has a problem of its own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final

from surehook.config.decoding import Problems
from surehook.config.hiding import looks_secret
from surehook.config.settings import Settings
from surehook.config.sources import Source
from surehook.config.stores import check_database, check_postgres, check_queue, check_setting
from surehook.config.units import duration_text
from surehook.errors import ConfigurationError, did_you_mean
from surehook.matching import is_pattern

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:{}-]{1,64}")


def check(settings: Settings, sources: Mapping[str, Source], problems: Problems) -> None:
    """Apply all rules."""
    for place, message in [*_stores(settings), *_ports(settings), *_names(settings), *_packs(settings)]:
        if problems.clean(place, deep=False):
            problems.add(place, sources.get(place), message)
    if problems.clean("handlers"):
        for place, message in _leases(settings):
            problems.add(place, sources.get(place), message)
    if problems.clean("providers", "destinations", deep=False):
        for place, message in [*_forwards(settings, problems)]:
            problems.add(place, sources.get("forward"), message)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _stores(settings: Settings) -> Iterator[tuple[str, str]]:
    urls = (
        ("database", settings.database, check_database),
        ("queue", settings.queue, check_queue),
        ("postgres.listen_url", settings.postgres.listen_url, check_postgres),
    )
    for place, value, check_url in urls:
        try:
            if value is not None:
                check_setting(value, check_url)
        except ConfigurationError as error:
            yield place, str(error)
    if not _PREFIX.fullmatch(settings.redis.prefix):
        yield (
            "redis.prefix",
            'a prefix holds at most 64 of A-Z, a-z, 0-9, "-", "_", ".", ":", "{" and "}". Example: prefix = "surehook"',
        )


def _ports(settings: Settings) -> Iterator[tuple[str, str]]:
    server, console = settings.server, settings.console
    if not is_loopback(console.host) and console.token is None:
        yield (
            "console.token",
            f"required, since console.host ({console.host!r}) can be reached from other machines. "
            'Example: token = "env:SUREHOOK_CONSOLE_TOKEN"',
        )
    if console.port and (console.host, console.port) == (server.host, server.port):
        yield "console.port", f"the same as server.port ({server.port}): each needs a port of its own."


def _names(settings: Settings) -> Iterator[tuple[str, str]]:
    for table in ("providers", "destinations"):
        for name in getattr(settings, table):
            if not _NAME.fullmatch(name):
                place = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else repr(name)
                yield (
                    f"{table}.{place}",
                    'a name holds at most 64 of a-z, 0-9, "-" and "_", and starts with a letter or digit.',
                )


def _packs(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, provider in settings.providers.items():
        if provider.pack is not None and looks_secret(provider.pack):
            yield (
                f"providers.{name}.pack",
                "expected the name of a pack; this looks like a secret (not shown). Put it into a variable or file, name "
                'that in secrets, and renew it if others have seen it. Example: pack = "hmac"',
            )


def _leases(settings: Settings) -> Iterator[tuple[str, str]]:
    handlers = settings.handlers
    lease, heartbeat = duration_text(handlers.lease), duration_text(handlers.heartbeat)
    least = handlers.timeout + handlers.transaction_budget
    if handlers.lease <= least:
        yield (
            "handlers.lease",
            f"{lease} is too short: an attempt may take handlers.timeout ({duration_text(handlers.timeout)}) and its "
            f"commit handlers.transaction_budget ({duration_text(handlers.transaction_budget)}). "
            f"Make lease longer than {duration_text(least)}, or timeout shorter.",
        )
    if handlers.lease < 2 * handlers.heartbeat:
        yield (
            "handlers.heartbeat",
            f"{heartbeat} is too long: one late heartbeat would lose the lease ({lease}). "
            f"Make it {duration_text(handlers.lease // 2)} or less, or lease longer.",
        )


def _forwards(settings: Settings, problems: Problems) -> Iterator[tuple[str, str]]:
    for index, rule in enumerate(settings.forward):
        place = f"forward[{index}]"
        if not rule.to and problems.clean(f"{place}.to"):
            yield f"{place}.to", 'names no destination. Example: to = ["ledger"]'
        for name in rule.to:
            if name not in settings.destinations and problems.clean(f"destinations.{name}"):
                hint = did_you_mean(name, settings.destinations)
                yield f"{place}.to", f"there is no destination {name!r}. {hint}"
        if rule.type is not None and not is_pattern(rule.type) and problems.clean(f"{place}.type"):
            yield f"{place}.type", f"{rule.type!r} is no pattern: write a type, 'invoice.*' or '*'"
        name = rule.provider or ""
        if name and name not in settings.providers and problems.clean(f"providers.{name}"):
            yield (
                f"{place}.provider",
                f"there is no provider {name!r}. {did_you_mean(name, settings.providers)}",
            )
