"""What an HTTP destination's answer, or the lack of one, means."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec

from surehook.clock import Millis
from surehook.model import Failure
from surehook.publish import Delivered, Failed, Outcome
from surehook.publish.egress import Forbidden
from surehook.retry import LONGEST_WISH

#: Headers of an answer that tell an operator something.
_TELLING: Final = ("content-type", "date", "location", "retry-after", "server", "x-request-id")


class Answer(msgspec.Struct, frozen=True):
    """A destination's answer, with as much of its body as was read."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


class Try(msgspec.Struct, frozen=True):
    """When one try began and ended, and where it went."""

    destination: str
    started_at: Millis
    failed_at: Millis


def judge(answer: Answer, attempt: Try) -> Outcome:
    """2xx is delivered; 410 is final; anything else, redirects too, is tried again."""
    if 200 <= answer.status < 300:
        return Delivered()
    line = f"HTTP {answer.status} {answer.phrase}".rstrip()
    failed = failure(attempt, f"HTTP {answer.status}", _meaning(answer), _detail(line, answer))
    return Failed(
        msgspec.structs.replace(failed, status=answer.status),
        retry_after_ms=retry_after(answer.headers.get("retry-after"), attempt.failed_at),
        permanent=answer.status == 410,
    )


def _meaning(answer: Answer) -> str:
    phrase = answer.phrase or "no success"
    if answer.status == 410:
        return f"{phrase}: the receiver will never want this"
    return f"{phrase}: redirects are not followed" if 300 <= answer.status < 400 else phrase


def unanswered(error: BaseException, attempt: Try) -> Failed:
    """The outcome of a try that ended without an answer."""
    kind, message = _classify(error)
    return Failed(failure(attempt, kind, message, message))


def failure(attempt: Try, kind: str, message: str, detail: str) -> Failure:
    """A failure whose fingerprint is the same for all of this kind at this destination."""
    return Failure(
        error_type=kind,
        message=_storable(message),
        detail=_storable(detail),
        fingerprint=hashlib.sha256(f"{attempt.destination}\n{kind}".encode()).hexdigest()[:16],
        started_at=attempt.started_at,
        failed_at=attempt.failed_at,
    )


def retry_after(value: str | None, now: Millis) -> int | None:
    """The wait that a ``Retry-After`` header asks for, in milliseconds, 0 to 24 h; None for none or garbage.

    RFC 9110, 10.2.3: seconds or an HTTP-date.
    """
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        # Longer than any wait that is granted, and int() refuses thousands of digits.
        return LONGEST_WISH if len(text) > 9 else min(int(text) * 1000, LONGEST_WISH)
    at = _http_date(text)
    return None if at is None else min(max(0, at - now), LONGEST_WISH)


def _http_date(text: str) -> int | None:
    try:
        at = parsedate_to_datetime(text)
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _detail(line: str, answer: Answer) -> str:
    headers = [f"{name}: {answer.headers[name]}" for name in _TELLING if name in answer.headers]
    return "\n".join([line, *headers, "", answer.body.decode("utf-8", "replace")])


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and UTF-8 no lone surrogate."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _classify(error: BaseException) -> tuple[str, str]:
    """A name for the kind of error, and a sentence that gives away neither the URL's query nor any header."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "ConnectTimeout", "no connection within the connect timeout"
        case asyncio.TimeoutError():
            return "Timeout", "no complete answer within the timeout"
        case aiohttp.ClientConnectorCertificateError():
            return (
                "CertificateInvalid",
                f"the certificate is not valid for this host: {error.certificate_error}",
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "TLSError", "no TLS connection could be agreed on"
        case aiohttp.ClientConnectorError():
            return _classify_connecting(error)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "Disconnected", "the connection was closed before an answer came"
        case aiohttp.ClientResponseError():
            return "BadAnswer", f"the answer is not proper HTTP: {error.message}"
        case _:
            return type(error).__name__, str(error) or "no more is known"


def _classify_connecting(error: aiohttp.ClientConnectorError) -> tuple[str, str]:
    cause = error.os_error
    if isinstance(cause, Forbidden):
        return "AddressForbidden", str(cause)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "NameNotResolved", f"the name {error.host} has no address"
    if isinstance(cause, ConnectionRefusedError):
        return "ConnectionRefused", f"nothing accepts connections at {error.host}:{error.port}"
    return "ConnectionFailed", f"no connection to {error.host}:{error.port}: {cause.strerror or cause}"
