"""Deliveries by HTTP POST, signed as Standard Webhooks says."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import aiohttp

from surehook.clock import Clock, Millis
from surehook.config import DestinationSettings
from surehook.deadlines import Deadlines
from surehook.errors import ConfigurationError
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.model import MessageClaim
from surehook.publish import Delivered, Outcome
from surehook.publish.answers import Answer, Try, judge, unanswered
from surehook.publish.egress import check_url
from surehook.publish.signing import Signer
from surehook.publish.wire import Reply, Wire
from surehook.secrets import Secret
from surehook.telemetry import parse_traceparent
from surehook.version import __version__

#: Bytes of an answer's body that are read; then the connection is closed.
MAX_ANSWER: Final = 16 * 1024

_DELIVERED: Final = Delivered()

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
        self._headers = {
            "user-agent": f"Surehook/{__version__}",
            **check_headers(name, settings.headers),
            "content-type": "application/json",
            "accept-encoding": "identity",
        }
        self._clock = clock
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._way: _Way | None = None

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        """See ``Transport.send``; several messages are sent side by side."""
        if len(claims) == 1:
            return [await self._send_one(claims[0])]
        return list(await asyncio.gather(*(self._send_one(claim) for claim in claims)))

    async def close(self) -> None:
        """Close the connections."""
        if self._way is not None:
            self._way.deadlines.close()
            await self._way.wire.close()

    async def _send_one(self, claim: MessageClaim) -> Outcome:
        started = self._clock.now()
        try:
            reply = await self._exchange(claim, started)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this try's outcome, and never the lane's end
            return unanswered(error, Try(self._name, started, self._clock.now()))
        if 200 <= reply.status < 300:
            return _DELIVERED
        answer = Answer(reply.status, reply.phrase, reply.headers, bytes(reply.body))
        return judge(answer, Try(self._name, started, self._clock.now()))

    async def _exchange(self, claim: MessageClaim, now: Millis) -> Reply:
        way = self._way or self._open()
        with way.deadlines.begin() as deadline:
            reply = await way.wire.post(self._headers_of(claim, now), claim.body)
        if reply.ended:
            reply.close()
        else:
            await _read(reply, deadline.at)
        return reply

    def _headers_of(self, claim: MessageClaim, now: Millis) -> dict[str, str]:
        headers = self._signer.headers(typeid(MESSAGE_PREFIX, claim.id), now, claim.body)
        trace = claim.traceparent
        # what a later version may append to it can hold anything
        if trace is not None and parse_traceparent(trace) is not None and _is_plain(trace):
            headers["traceparent"] = trace
        return headers

    def _open(self) -> _Way:
        # Made at the first message, for it needs the running loop.
        settings = self._settings
        wire = Wire(
            self._url,
            self._headers,
            allow_private=settings.allow_private,
            tls=self._tls,
            connect_timeout=settings.connect_timeout / 1000,
            read_ahead=MAX_ANSWER,
        )
        self._way = _Way(wire, Deadlines(settings.timeout / 1000))
        return self._way


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


class _Way(NamedTuple):
    """What a transport has of an event loop."""

    wire: Wire
    deadlines: Deadlines


async def _read(reply: Reply, deadline: float) -> None:
    """Read the first MAX_ANSWER bytes of the body.

    The status has told all that matters, so a body that breaks off, or lasts too long, is no error.
    """
    try:
        if reply.complete:
            await reply.read(MAX_ANSWER)
            return
        async with asyncio.timeout_at(deadline):
            await reply.read(MAX_ANSWER)
    except (aiohttp.ClientError, OSError):
        pass
    finally:
        reply.close()


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
