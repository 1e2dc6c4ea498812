"""Whether this machine can do what its settings say: every check that ``surehook doctor`` makes.

Nothing is delivered and nothing is made; the database is only written to as ``/readyz`` does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Final

from surehook.config import Examination, Settings
from surehook.errors import SurehookError
from surehook.ingest.listening import Address
from surehook.wiring.checks import part_checks, problems_of
from surehook.wiring.doctor.database import check_database, check_listening
from surehook.wiring.doctor.findings import Finding, Level
from surehook.wiring.doctor.ports import check_port
from surehook.wiring.doctor.queue import check_queue
from surehook.wiring.doctor.versions import check_versions
from surehook.wiring.importing import load_app
from surehook.wiring.parts import warnings_of

__all__ = ["Finding", "Level", "diagnose"]

#: Seconds that one check of something outside of this process may take.
DEADLINE: Final = 20.0

#: Looks at something and tells what it sees while it goes on. What it raises is a failed check.
Check = Callable[[], AsyncGenerator[Finding, None]]


async def diagnose(examination: Examination) -> list[Finding]:
    """All findings, in the order in which things depend on each other. What the settings do not say is not checked."""
    settings = examination.loaded.settings
    findings = [*check_versions(), *_settings(examination), *_application(examination)]
    for place, check in _checks(settings):
        if examination.clean(place):
            findings += await _within_deadline(place, check)
    return findings


def _checks(settings: Settings) -> Iterator[tuple[str, Check]]:
    yield "database", partial(check_database, settings)
    yield "postgres.listen_url", partial(check_listening, settings)
    yield "queue", partial(check_queue, settings)
    server, console = settings.server, settings.console
    yield "server", partial(check_port, Address(server.host, server.port, "server"))
    yield "console", partial(check_port, Address(console.host, console.port, "console"))


async def _within_deadline(place: str, check: Check) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(DEADLINE), aclosing(check()) as found:
            async for finding in found:
                findings.append(finding)
    except TimeoutError:
        findings.append(Finding(place, "failed", f"no answer within {DEADLINE:g} s"))
    except SurehookError as error:
        findings.append(Finding(place, "failed", str(error)))
    except Exception as error:  # noqa: BLE001 - a check that breaks has failed, and must not break the others
        findings.append(Finding(place, "failed", f"{type(error).__name__}: {error}"))
    return findings


def _settings(examination: Examination) -> Iterator[Finding]:
    """The settings by themselves, and what is built of them."""
    yield from (Finding("configuration", "failed", problem) for problem in examination.problems)
    if not examination.problems:
        path = examination.loaded.path
        source = f"{path}: no problems" if path else "no file: defaults and environment only"
        yield Finding("configuration", "ok", source)
    for place, checks in part_checks(examination.loaded.settings):
        if examination.clean(place):
            problems = problems_of(checks)
            yield from (Finding(place, "failed", problem) for problem in problems)
            yield from [Finding(place, "ok", "complete; nothing was sent")] * (not problems)


def _application(examination: Examination) -> Iterator[Finding]:
    """The application, and where it does not fit the settings."""
    settings = examination.loaded.settings
    try:
        registry = load_app(settings)
    except SurehookError as error:
        yield Finding("app", "failed", str(error))
        return
    count = len(registry.handlers)
    text = f"{settings.app} has {count} handler{'s' * (count != 1)}" if settings.app else "none is set"
    yield Finding("app", "ok", text)
    if examination.clean("providers"):
        yield from (Finding("app", "warning", text) for text in warnings_of(settings, registry))
