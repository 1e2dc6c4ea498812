"""Deliveries by HTTP POST, signed as Standard Webhooks says."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from surehook.clock import Clock
from surehook.config import MIB, DestinationSettings
from surehook.errors import ConfigurationError
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.model import MessageClaim
from surehook.publish import Outcome
from surehook.publish.answers import Answer, Try, judge, unanswered
from surehook.publish.egress import check_url, connector
from surehook.publish.signing import Signer
from surehook.secrets import Secret
from surehook.telemetry import parse_traceparent
from surehook.version import __version__

#: Bytes of an answer's body that are read; then the connection is closed.
MAX_ANSWER: Final = 16 * 1024

#: How long an idle connection is kept, in seconds: shorter than the usual 60 s and more of receivers.
_KEEP_ALIVE: Final = 15.0

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
#: Headers that are of one connection (RFC 9110, 7.6.1), or that a delivery sets itself.
_RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class HttpTransport:
    """One destination's way out. A destination without secrets gets unsigned deliveries.

    The total timeout is a wall-clock deadline over everything: name, connection, request, answer. Redirects are failures,
    environment proxies, ``.netrc`` and cookies are not used, answers are not decompressed.
    """

    #: Each message is a request of its own.
    batch = 1

    def __init__(
        self,
        name: str,
        settings: DestinationSettings,
        secrets: Sequence[Secret],
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``secrets`` are the resolved ``settings.secrets``; ``tls`` replaces the system's trusted certificates.

        Raises ConfigurationError when URL, headers or secrets cannot work.
        """
        self._name = name
        self._url = check_url(name, settings.url, settings.allow_private)
        self._settings = settings
        self._signer = Signer(name, secrets)
        self._headers = {"user-agent": f"Surehook/{__version__}", **check_headers(name, settings.headers)}
        self._clock = clock
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._session: aiohttp.ClientSession | None = None

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        """See ``Transport.send``; several messages are sent side by side."""
        if len(claims) == 1:
            return [await self._send_one(claims[0])]
        return list(await asyncio.gather(*(self._send_one(claim) for claim in claims)))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send_one(self, claim: MessageClaim) -> Outcome:
        started = self._clock.now()
        try:
            answer = await self._exchange(claim)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this try's outcome, and never the lane's end
            return unanswered(error, Try(self._name, started, self._clock.now()))
        return judge(answer, Try(self._name, started, self._clock.now()))

    async def _exchange(self, claim: MessageClaim) -> Answer:
        deadline = asyncio.get_running_loop().time() + self._settings.timeout / 1000
        async with asyncio.timeout_at(deadline):
            response = await self._answered(claim)
        body = await _read(response, deadline)
        return Answer(response.status, response.reason or "", response.headers, body)

    async def _answered(self, claim: MessageClaim) -> aiohttp.ClientResponse:
        connection = _Connection()
        try:
            return await self._post(claim, connection)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection that the receiver closed just now says nothing about the receiver. To send again is
            # harmless: the id is the same.
            if not connection.reused:
                raise
            return await self._post(claim, _Connection())

    async def _post(self, claim: MessageClaim, connection: _Connection) -> aiohttp.ClientResponse:
        return await self._open().post(
            self._url,
            data=_payload(claim.body),
            headers=self._headers_of(claim),
            allow_redirects=False,
            ssl=self._tls,
            trace_request_ctx=connection,
        )

    def _headers_of(self, claim: MessageClaim) -> dict[str, str]:
        id = typeid(MESSAGE_PREFIX, claim.id)
        headers = {
            **self._headers,
            "content-type": "application/json",
            "accept-encoding": "identity",
            **self._signer.headers(id, self._clock.now(), claim.body),
        }
        if claim.traceparent is not None and parse_traceparent(claim.traceparent) is not None:
            headers["traceparent"] = claim.traceparent
        return headers

    def _open(self) -> aiohttp.ClientSession:
        # Made at the first message, for it needs the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(allow_private=self._settings.allow_private, keep_alive=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=MAX_ANSWER,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.connect_timeout / 1000),
                trace_configs=[_tracing()],
            )
        return self._session


def _payload(body: bytes) -> bytes | io.BytesIO:
    # In one piece aiohttp would copy a large body into the socket's buffer at once.
    return body if len(body) <= MIB else io.BytesIO(body)


class _Connection:
    """Of one request: whether its connection was open already."""

    reused = False


def _tracing() -> aiohttp.TraceConfig:
    async def note(
        _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams
    ) -> None:
        context.trace_request_ctx.reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(note)
    return config


async def _read(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    """The first MAX_ANSWER bytes of the body.

    The status has told all that matters, so a body that breaks off, or lasts too long, is no error.
    """
    body = bytearray()
    try:
        async with asyncio.timeout_at(deadline):
            while len(body) < MAX_ANSWER and (part := await response.content.read(MAX_ANSWER - len(body))):
                body += part
    except (aiohttp.ClientError, OSError):
        pass
    finally:
        # At its end the connection went back to the pool already; otherwise the rest is not waited for.
        response.close()
    return bytes(body)


def check_headers(name: str, headers: Mapping[str, str]) -> dict[str, str]:
    """A destination's extra headers, names in lower case.

    Raises ConfigurationError for one that is malformed, that a proxy would strip, or that deliveries set themselves.
    """
    checked: dict[str, str] = {}
    for header, value in headers.items():
        place, lower = f"destinations.{name}.headers.{header!r}", header.lower()
        if not _TOKEN.fullmatch(header):
            raise ConfigurationError(f"{place}: this is no name of a header")
        if lower in _RESERVED or lower.startswith("webhook-"):
            raise ConfigurationError(f"{place}: this header is not yours to set: remove it")
        if not _VALUE.fullmatch(value):
            raise ConfigurationError(f"{place}: its value must be printable ASCII in one line")
        checked[lower] = value
    return checked
