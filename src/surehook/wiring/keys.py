"""Fetching the keys that senders publish: one small answer over HTTPS, from public addresses only."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection
from functools import partial
from typing import Final

import aiohttp
from yarl import URL

from surehook.packs import Fetch, Fetched, KeySource
from surehook.publish.egress import connector
from surehook.version import __version__

#: Seconds for all of it: name, connection, request, answer.
_TIMEOUT: Final = 5.0
#: The largest answer in bytes.
_MOST: Final = 256 * 1024

_HEADERS: Final = {"user-agent": f"Surehook/{__version__}", "accept-encoding": "identity"}
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])", re.IGNORECASE)


def key_fetcher(
    *, tls: ssl.SSLContext | None = None, allow_private: bool = False, timeout: float = _TIMEOUT
) -> Fetch:
    """Fetches keys. Follows no redirect, knows no proxy and no cookie, reaches no private address.

    Each fetch has a connection of its own, for there is hardly ever a second one to use it. ``tls`` replaces the system's
    trusted certificates; ``allow_private`` is for servers of tests.
    """
    return partial(_fetch, tls if tls is not None else True, allow_private, timeout)


async def _fetch(
    tls: ssl.SSLContext | bool, allow_private: bool, seconds: float, source: KeySource
) -> Fetched:
    url = URL(source.url)
    if url.scheme != "https" or url.user is not None:
        raise ValueError("keys are fetched over https, without a user")
    session = aiohttp.ClientSession(
        connector=connector(allow_private=allow_private, keep_alive=0.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=seconds),
        headers=_HEADERS,
        trust_env=False,
        auto_decompress=False,
    )
    body = None if source.post is None else source.post.encode()
    more = {} if body is None else {"content-type": "application/json"}
    method = "GET" if body is None else "POST"
    async with (
        session,
        session.request(method, url, data=body, headers=more, ssl=tls, allow_redirects=False) as answer,
    ):
        return await _read(answer, source.statuses)


async def _read(answer: aiohttp.ClientResponse, statuses: Collection[int]) -> Fetched:
    if answer.status not in statuses:
        raise ValueError(f"it answers with the status {answer.status}")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ValueError("it compresses its answer, which it was asked not to")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > _MOST:
            raise ValueError(f"its answer has more than {_MOST} bytes")
    age = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    return Fetched(bytes(body), int(age[1]) if age else None)
