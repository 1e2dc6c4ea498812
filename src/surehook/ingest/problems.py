"""The answers of the HTTP ports: problem documents (RFC 9457) and plain ones, built once and sent many times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Pair = tuple[bytes, bytes]

#: Seconds after which a sender may try again when the trouble is ours. Most providers keep to their own schedule.
RETRY_AFTER: Final = 5

_CLOSE: Final[Pair] = (b"connection", b"close")


class Answer(NamedTuple):
    """One whole HTTP answer: as its two ASGI messages, and as what goes over the wire."""

    start: Message
    body: Message
    #: The first line; the server's own headers follow it.
    line: bytes
    #: The answer's headers and the empty line.
    head: bytes
    #: The connection ends with it.
    closes: bool

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        await send(self.start)
        await send(self.body)

    def raw(self, server_headers: Sequence[Pair], *, keep_alive: bool = True) -> bytes:
        """All of it, for use below ASGI."""
        own = b"".join([b"%s: %s\r\n" % pair for pair in server_headers])
        close = b"" if keep_alive or self.closes else b"connection: close\r\n"
        return b"".join((self.line, own, close, self.head, self.body["body"]))


_LINES: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


def answer(status: int, body: bytes, content_type: bytes, *extra: Pair) -> Answer:
    """An answer with a body of known length; 204 and 304 have none, whatever is given."""
    headers = list(extra)
    if status in (204, 304):
        body = b""
    else:
        headers += [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    line = _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    head = b"".join([b"%s: %s\r\n" % pair for pair in headers]) + b"\r\n"
    return Answer(start, {"type": "http.response.body", "body": body}, line, head, _CLOSE in headers)


class Problem:
    """A constant problem document: it never says more to one caller than to another."""

    def __init__(self, status: int, slug: str, detail: str, *extra: Pair) -> None:
        self.status = status
        document = {
            "type": f"urn:surehook:problem:{slug}",
            "title": slug.replace("-", " ").capitalize(),
            "status": status,
            "detail": detail,
        }
        body = msgspec.json.encode(document)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            extra = (*extra, (b"retry-after", b"%d" % RETRY_AFTER))
        content_type = b"application/problem+json"
        #: For a request that has arrived as a whole.
        self.keep = answer(status, body, content_type, *extra)
        #: For a request whose rest is not wanted: the connection ends with this answer.
        self.close = answer(status, body, content_type, *extra, _CLOSE)


BAD_REQUEST: Final = Problem(400, "bad-request", "This is not a well-formed HTTP/1.1 request.")
#: RFC 9110 wants a challenge beside every 401; the scheme is the provider's own, so its name is a general one.
BAD_SIGNATURE: Final = Problem(
    401,
    "bad-signature",
    "The request could not be authenticated.",
    (b"www-authenticate", b'Signature realm="webhooks"'),
)
#: The same for senders that count bytes (Xero): no body.
BARE_REFUSAL: Final = answer(401, b"", b"text/plain", (b"www-authenticate", b'Signature realm="webhooks"'))
NOT_FOUND: Final = Problem(404, "not-found", "There is nothing at this address.")
POST_ONLY: Final = Problem(405, "method-not-allowed", "Webhooks are received by POST.", (b"allow", b"POST"))
GET_ONLY: Final = Problem(
    405, "method-not-allowed", "Health is read by GET or HEAD.", (b"allow", b"GET, HEAD")
)
RECEIVE_TIMEOUT: Final = Problem(408, "receive-timeout", "The request did not arrive in time.")
BODY_TOO_LARGE: Final = Problem(413, "body-too-large", "The body is larger than is accepted here.")
URL_TOO_LONG: Final = Problem(414, "url-too-long", "The URL is longer than is accepted here.")
ENCODED_BODY: Final = Problem(
    415,
    "encoded-body",
    "Send the body as it is, without Content-Encoding.",
    (b"accept-encoding", b"identity"),
)
HEADERS_TOO_LARGE: Final = Problem(
    431, "headers-too-large", "There are more header fields, or larger ones, than are accepted here."
)
UNAVAILABLE: Final = Problem(503, "unavailable", "The request could not be stored now; send it again later.")
OVERLOADED: Final = Problem(503, "overloaded", "Too much is waiting already; send the request again later.")
TOO_MANY_CONNECTIONS: Final = Problem(
    503, "too-many-connections", "Too many connections are open already; come back later."
)
