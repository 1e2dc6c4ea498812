"""Ports: free, or Surehook's own already."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from surehook.config.addresses import base_url
from surehook.errors import ConfigurationError
from surehook.ingest.listening import Address
from surehook.wiring.doctor.findings import Finding

#: How the answer of /livez begins.
_ALIVE: Final = b'{"status":"pass"'


async def check_port(address: Address) -> AsyncGenerator[Finding, None]:
    """Whether ``run`` could listen there now; a port that a Surehook listens on is well."""
    place, where = f"{address.section}.port", f"{address.host}:{address.port}"
    try:
        for sock in address.bind():
            sock.close()
    except ConfigurationError as error:
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if taken and await _is_surehook(base_url(address.host, address.port)):
            yield Finding(place, "ok", f"a Surehook listens on {where}")
        else:
            yield Finding(place, "failed", str(error))
    else:
        yield Finding(place, "ok", f"{where} is free" if address.port else "any free port")


async def _is_surehook(url: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"{url}/livez", allow_redirects=False) as answer,
        ):
            return answer.status == 200 and (await answer.content.read(100)).startswith(_ALIVE)
    except (aiohttp.ClientError, TimeoutError):
        return False
