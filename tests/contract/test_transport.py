"""The transport seam's specification as tests, over real servers that behave, misbehave and attack."""

from __future__ import annotations

import asyncio
import base64
import gzip
import resource
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook, WebhookVerificationError

from surehook import __version__
from surehook.clock import Clock, ManualClock, Millis, SystemClock
from surehook.config import DestinationSettings
from surehook.errors import ConfigurationError
from surehook.ids import MESSAGE_PREFIX, MessageId, typeid, uuid7
from surehook.model import MessageClaim
from surehook.publish import Delivered, Failed, Outcome
from surehook.publish.http import MAX_ANSWER, HttpTransport
from surehook.secrets import Secret
from tests.contract.receivers import Hostile, Peer, Receiver, Request, misbehaving, receiving

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OLD = "whsec_" + base64.b64encode(b"the old secret of the ledger").decode()
NEW = "whsec_" + base64.b64encode(b"the new secret of the ledger").decode()
DAY = 24 * 3_600_000

#: The timeouts where the server is not expected to use them up, and the total where it is, in milliseconds.
AMPLE = 20_000
TIMEOUT = 500

#: How much longer than its timeout a try may last on a busy machine, in seconds.
SLACK = 10


def claim(**changes: Any) -> MessageClaim:
    values: dict[str, Any] = {
        "id": MessageId(uuid7(SystemClock().now())),
        "token": 1,
        "attempt": 1,
        "lost_leases": 0,
        "destination": "ledger",
        "type": "payment.recorded",
        "subject": None,
        "order_key": None,
        "body": '{"type":"payment.recorded","data":"ä"}'.encode(),
        "created_at": Millis(1_790_000_000_000),
        "traceparent": None,
    }
    return MessageClaim(**(values | changes))


@asynccontextmanager
async def transport(
    url: str,
    *secrets: str,
    clock: Clock | None = None,
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> AsyncIterator[HttpTransport]:
    values: dict[str, Any] = {
        "timeout": AMPLE,
        "connect_timeout": AMPLE,
        "allow_private": True,
    } | settings
    destination = DestinationSettings(url=url, **values)
    resolved = [Secret(secret, "env:LEDGER_SECRET") for secret in secrets]
    made = HttpTransport("ledger", destination, resolved, clock or SystemClock(), tls=tls)
    try:
        yield made
    finally:
        await made.close()


async def send_one(url: str, **settings: Any) -> Outcome:
    async with transport(url, **settings) as made:
        [outcome] = await made.send([claim()])
        return outcome


async def fail_one(url: str, **settings: Any) -> Failed:
    outcome = await send_one(url, **settings)
    assert isinstance(outcome, Failed)
    return outcome


def elapsed(since: float) -> float:
    return asyncio.get_running_loop().time() - since


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


def answering(
    status: int, body: bytes = b"", **headers: str
) -> Callable[[Request], Awaitable[web.StreamResponse]]:
    async def answer(_: Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


# What is sent


async def test_a_delivery_is_verified_by_the_official_library(receiver: Receiver) -> None:
    message = claim()
    async with transport(receiver.url, NEW) as made:
        assert await made.send([message]) == [Delivered()]
    [request] = receiver.requests
    assert request.body == message.body
    Webhook(NEW).verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(request.body + b" ", dict(request.headers))


async def test_every_live_secret_signs(receiver: Receiver) -> None:
    async with transport(receiver.url, NEW, OLD) as made:
        await made.send([claim()])
    [request] = receiver.requests
    assert len(request.header("webhook-signature").split(" ")) == 2
    for secret in (NEW, OLD):
        Webhook(secret).verify(request.body, dict(request.headers))


async def test_a_destination_without_secrets_gets_unsigned_deliveries(receiver: Receiver) -> None:
    assert await send_one(receiver.url) == Delivered()
    [request] = receiver.requests
    assert not request.has("webhook-signature")
    assert request.has("webhook-id")


async def test_the_headers_of_a_delivery(receiver: Receiver) -> None:
    message = claim(traceparent=TRACE)
    async with transport(
        receiver.url, NEW, headers={"X-Team": "billing", "Authorization": "Bearer t"}
    ) as made:
        await made.send([message])
    [request] = receiver.requests
    assert request.header("webhook-id") == typeid(MESSAGE_PREFIX, message.id)
    assert request.header("content-type") == "application/json"
    assert request.header("accept-encoding") == "identity"
    assert request.header("user-agent") == f"Surehook/{__version__}"
    assert request.header("traceparent") == TRACE
    assert request.header("x-team") == "billing"
    assert request.header("authorization") == "Bearer t"
    assert request.header("content-length") == str(len(message.body))
    assert request.header("host") == f"127.0.0.1:{receiver.port}"
    assert request.header("accept") == "*/*"
    assert not request.has("transfer-encoding")
    assert request.path == "/hooks"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", "/"),
        ("/a/b?tenant=1&x=y", "/a/b?tenant=1&x=y"),
        ("/ä", "/%C3%A4"),
        ("/x#fragment", "/x"),
        ("/a%2Fb?q=%20", "/a%2Fb?q=%20"),
        ("?only=query", "/?only=query"),
    ],
)
async def test_the_target_of_a_delivery(receiver: Receiver, path: str, sent: str) -> None:
    assert await send_one(f"http://127.0.0.1:{receiver.port}{path}") == Delivered()
    assert receiver.requests[0].path == sent


async def test_every_try_has_the_same_id_and_a_fresh_time_and_signature(receiver: Receiver) -> None:
    clock, message = ManualClock(), claim()
    receiver.answer = answering(503)
    async with transport(receiver.url, NEW, clock=clock) as made:
        await made.send([message])
        clock.advance(5_000)
        await made.send([message])
    first, second = receiver.requests
    assert first.header("webhook-id") == second.header("webhook-id")
    assert int(second.header("webhook-timestamp")) - int(first.header("webhook-timestamp")) == 5
    assert first.header("webhook-timestamp") == "1790000000"
    assert first.header("webhook-signature") != second.header("webhook-signature")
    assert first.body == second.body


@pytest.mark.parametrize(
    "trace", ["nonsense", f"{TRACE}\r\nx-evil: 1", "", f"01{TRACE[2:]}-\rx-evil: 1", f"01{TRACE[2:]}-ä"]
)
async def test_a_trace_context_that_is_none_is_left_out(receiver: Receiver, trace: str) -> None:
    async with transport(receiver.url) as made:
        assert await made.send([claim(traceparent=trace)]) == [Delivered()]
    [request] = receiver.requests
    assert not request.has("traceparent")
    assert not request.has("x-evil")


async def test_several_messages_have_their_outcomes_in_order(receiver: Receiver) -> None:
    messages = [claim(body=str(number).encode()) for number in range(8)]

    async def odd_ones_fail(request: Request) -> web.StreamResponse:
        return web.Response(status=500 if int(request.body) % 2 else 200)

    receiver.answer = odd_ones_fail
    async with transport(receiver.url) as made:
        outcomes = await made.send(messages)
    assert [isinstance(outcome, Delivered) for outcome in outcomes] == [True, False] * 4


async def test_connections_are_used_again(receiver: Receiver) -> None:
    async with transport(receiver.url) as made:
        for _ in range(5):
            assert await made.send([claim()]) == [Delivered()]
    assert len(receiver.connections) == 1


async def test_a_connection_that_the_receiver_closed_meanwhile_costs_no_try() -> None:
    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 204 No Content\r\nconnection: keep-alive\r\n\r\n")
        await peer.request()  # the next one is read, and the connection closed without an answer

    async with misbehaving(answer_once) as server, transport(server.url) as made:
        assert await made.send([claim()]) == [Delivered()]
        assert await made.send([claim()]) == [Delivered()]
        assert server.connections == 2


async def test_a_connection_that_is_closed_each_time_costs_the_try() -> None:
    """It is tried once more on a new connection, and no more often."""
    requests = 0

    async def answer_the_first(peer: Peer) -> None:
        nonlocal requests
        while True:
            await peer.request()
            requests += 1
            if requests > 1:
                return
            await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with misbehaving(answer_the_first) as server, transport(server.url) as made:
        assert await made.send([claim()]) == [Delivered()]
        [outcome] = await made.send([claim()])
    assert isinstance(outcome, Failed)
    assert outcome.failure.error_type == "Disconnected"
    assert (requests, server.connections) == (3, 2)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", 1),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 3),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 3),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, 3),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 3),
    ],
)
async def test_a_connection_is_used_again_when_the_answer_was_read_to_its_end(
    answer: bytes, connections: int
) -> None:
    async def behaviour(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    async with misbehaving(behaviour) as server, transport(server.url) as made:
        outcomes = [outcome for _ in range(3) for outcome in await made.send([claim()])]
    assert [isinstance(outcome, Delivered) for outcome in outcomes] == [b" 20" in answer] * 3
    assert server.connections == connections


async def test_an_answer_that_comes_before_the_body_has_left_counts_and_ends_the_connection() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with misbehaving(refuse) as server, transport(server.url) as made:
        for connections in (1, 2):
            [outcome] = await made.send([claim(body=b"x" * 16 * 1024 * 1024)])
            assert isinstance(outcome, Failed)
            assert outcome.failure.status == 413
            assert server.connections == connections


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert await send_one(receiver.url) == Delivered()
    assert not receiver.requests[0].has("authorization")


async def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.answer = answering(200, set_cookie="session=1; Path=/")
    # By a name: cookies of bare addresses are not kept anyway.
    async with transport(f"http://localhost:{receiver.port}/") as made:
        await made.send([claim()])
        await made.send([claim()])
    assert len(receiver.requests) == 2
    assert not receiver.requests[1].has("cookie")


# What the answer means


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_delivered(receiver: Receiver, status: int) -> None:
    receiver.answer = answering(status)
    assert await send_one(receiver.url) == Delivered()


@pytest.mark.parametrize(
    "status", [301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 422, 429, 500, 503, 599]
)
async def test_any_other_status_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.answer = answering(status, location="http://169.254.169.254/latest")
    failed = await fail_one(receiver.url)
    assert failed.failure.status == status
    assert failed.failure.error_type == f"HTTP {status}"
    assert not failed.permanent
    assert failed.retry_after_ms is None
    assert len(receiver.requests) == 1


async def test_410_is_final(receiver: Receiver) -> None:
    receiver.answer = answering(410)
    failed = await fail_one(receiver.url)
    assert failed.permanent
    assert failed.failure.error_type == "HTTP 410"


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as elsewhere:
        receiver.answer = answering(307, location=elsewhere.url)
        failed = await fail_one(receiver.url)
        assert elsewhere.requests == []
    assert f"location: {elsewhere.url}" in failed.failure.detail
    assert failed.failure.message == "Temporary Redirect: redirects are not followed"


NOW = datetime.fromtimestamp(1_790_000_000, UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("7", 7_000),
        (" 120 ", 120_000),
        ("86400", DAY),
        ("86401", DAY),
        ("1000000000000", DAY),
        ("9" * 5_000, DAY),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90_000),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), DAY),
        ((NOW + timedelta(seconds=90)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 90_000),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("Mon, 01 Jan 99999999 00:00:00 GMT", None),
        (",", None),
    ],
)
@pytest.mark.parametrize("status", [302, 404, 429, 503])
async def test_retry_after_is_honoured_within_a_day_and_garbage_ignored(
    receiver: Receiver, status: int, value: str, expected: int | None
) -> None:
    receiver.answer = answering(status, retry_after=value)
    failed = await fail_one(receiver.url, clock=ManualClock(1_790_000_000_000))
    assert failed.retry_after_ms == expected


async def test_a_failure_tells_the_operator_what_came(receiver: Receiver) -> None:
    receiver.answer = answering(422, b"no \0 such \xff customer", x_request_id="r-1", set_cookie="secret=1")
    clock = ManualClock()
    failure = (await fail_one(receiver.url, clock=clock)).failure
    head, _, body = failure.detail.partition("\n\n")
    assert head.splitlines()[0] == "HTTP 422 Unprocessable Entity"
    assert "x-request-id: r-1" in head
    assert "secret" not in failure.detail
    assert body == "no \ufffd such \ufffd customer"
    assert (failure.started_at, failure.failed_at) == (clock.now(), clock.now())


async def test_failures_of_one_kind_at_one_destination_have_one_fingerprint(receiver: Receiver) -> None:
    receiver.answer = answering(500, b"one")
    first = (await fail_one(receiver.url)).failure
    receiver.answer = answering(500, b"two")
    second = (await fail_one(receiver.url)).failure
    receiver.answer = answering(502)
    other = (await fail_one(receiver.url)).failure
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.detail != second.detail


# Servers that misbehave


async def hang_before_reading(peer: Peer) -> None:
    await asyncio.Event().wait()


async def hang_before_headers(peer: Peer) -> None:
    await peer.request()
    await asyncio.Event().wait()


async def drip_headers(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nx-drip: ")
    while True:
        await peer.send(b"a")
        await asyncio.sleep(0.02)


async def keep_saying_continue(peer: Peer) -> None:
    await peer.request()
    while True:
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "behaviour", [hang_before_reading, hang_before_headers, drip_headers, keep_saying_continue]
)
async def test_no_answer_within_the_deadline_is_a_timeout(
    behaviour: Callable[[Peer], Awaitable[None]],
) -> None:
    async with misbehaving(behaviour) as server:
        since = asyncio.get_running_loop().time()
        failed = await fail_one(server.url, timeout=TIMEOUT)
    assert failed.failure.error_type == "Timeout"
    assert failed.failure.status is None
    assert TIMEOUT / 1000 - 0.01 <= elapsed(since) < TIMEOUT / 1000 + SLACK


async def test_a_large_body_arrives_whole(receiver: Receiver) -> None:
    body = b"0123456789abcdef" * 300_000
    async with transport(receiver.url, NEW) as made:
        assert await made.send([claim(body=body)]) == [Delivered()]
    [request] = receiver.requests
    assert request.body == body
    assert request.header("content-length") == str(len(body))


async def test_a_body_that_is_not_read_by_the_receiver_ends_at_the_deadline_too() -> None:
    async with misbehaving(hang_before_reading) as server, transport(server.url, timeout=TIMEOUT) as made:
        [outcome] = await made.send([claim(body=b"x" * 16 * 1024 * 1024)])
    assert isinstance(outcome, Failed)
    assert outcome.failure.error_type == "Timeout"


def hang_after_headers(status: int) -> Callable[[Peer], Awaitable[None]]:
    async def behaviour(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d Some\r\ncontent-length: 100\r\n\r\nfirst" % status)
        await asyncio.Event().wait()

    return behaviour


def drip_body(status: int) -> Callable[[Peer], Awaitable[None]]:
    async def behaviour(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d Some\r\ntransfer-encoding: chunked\r\n\r\n" % status)
        while True:
            await peer.send(b"1\r\na\r\n")
            await asyncio.sleep(0.02)

    return behaviour


def break_off(status: int) -> Callable[[Peer], Awaitable[None]]:
    async def behaviour(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d Some\r\ncontent-length: 100\r\n\r\nfirst" % status)
        peer.reset()

    return behaviour


@pytest.mark.parametrize("behaviour", [hang_after_headers, drip_body, break_off])
async def test_the_status_counts_even_if_the_body_never_ends(
    behaviour: Callable[[int], Callable[[Peer], Awaitable[None]]],
) -> None:
    since = asyncio.get_running_loop().time()
    async with misbehaving(behaviour(200)) as server:
        assert await send_one(server.url, timeout=TIMEOUT) == Delivered()
    async with misbehaving(behaviour(503)) as server:
        assert (await fail_one(server.url, timeout=TIMEOUT)).failure.error_type == "HTTP 503"
    assert elapsed(since) < 2 * (TIMEOUT / 1000 + SLACK)


@pytest.mark.parametrize("status", [200, 500])
async def test_an_endless_body_is_read_up_to_its_limit_and_the_connection_closed(status: int) -> None:
    closed = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d Some\r\ntransfer-encoding: chunked\r\n\r\n" % status)
        try:
            while True:
                await peer.send(b"10000\r\n" + b"a" * 65536 + b"\r\n")
        finally:
            closed.set()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with misbehaving(endless) as server, transport(server.url) as made:
        async with asyncio.timeout(AMPLE / 2000):
            [outcome] = await made.send([claim()])
            await closed.wait()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB
    if isinstance(outcome, Failed):
        assert len(outcome.failure.detail) < MAX_ANSWER + 200
        assert outcome.failure.detail.endswith("a" * 1000)
    assert isinstance(outcome, Delivered) is (status == 200)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"a" * 20_000_000)

    async def answer(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 500 Oops\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
        await peer.send(head + bomb)
        await peer.gone()

    async with misbehaving(answer) as server:
        failed = await fail_one(server.url)
    assert failed.failure.error_type == "HTTP 500"
    assert len(failed.failure.detail) < MAX_ANSWER + 200
    assert "aaaaaaaa" not in failed.failure.detail


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "BadAnswer"),
        (b"\x16\x03\x01\x00\x00\x00\x00", "BadAnswer"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n", "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "BadAnswer"),
        (b"", "Disconnected"),
        (b"HTTP/1.1 200 OK\r\nx: ", "Disconnected"),
    ],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes, expected: str) -> None:
    async def behaviour(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async with misbehaving(behaviour) as server:
        failed = await fail_one(server.url)
    assert failed.failure.error_type == expected
    assert len(failed.failure.message) < 2_000


async def test_a_reset_connection_is_a_failure() -> None:
    async def behaviour(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with misbehaving(behaviour) as server:
        assert (await fail_one(server.url)).failure.error_type == "Disconnected"
        assert server.connections == 1


async def test_where_nothing_listens_the_connection_is_refused() -> None:
    async with misbehaving(hang_before_reading) as server:
        port = server.port
    failed = await fail_one(f"http://127.0.0.1:{port}/hooks?key=s3cret")
    assert failed.failure.error_type == "ConnectionRefused"
    assert f"127.0.0.1:{port}" in failed.failure.message
    assert "s3cret" not in str(failed)


async def test_a_connection_that_does_not_come_about_ends_at_the_connect_timeout() -> None:
    """TLS to a server that never says hello."""
    async with misbehaving(hang_before_reading) as server:
        since = asyncio.get_running_loop().time()
        url = f"https://127.0.0.1:{server.port}/?key=s3cret"
        failed = await fail_one(url, connect_timeout=100, timeout=30_000)
    assert failed.failure.error_type == "ConnectTimeout"
    assert elapsed(since) < 5
    assert "s3cret" not in str(failed)


async def test_a_name_without_address_is_a_failure() -> None:
    failed = await fail_one("https://no-such-host.invalid/")
    assert failed.failure.error_type == "NameNotResolved"


async def test_a_name_server_that_does_not_answer_holds_up_nothing_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, released = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        asked.set()
        released.wait(30)
        raise OSError("released")

    url = "https://ledger.example.com/"
    async with transport(url, connect_timeout=100) as slow, transport(receiver.url) as other:
        monkeypatch.setattr("socket.getaddrinfo", hang)
        outcomes = await asyncio.gather(slow.send([claim() for _ in range(40)]), other.send([claim()]))
        assert asked.is_set()
        # The threads that everyone shares are free.
        async with asyncio.timeout(5):
            await asyncio.to_thread(released.set)
    assert outcomes[1] == [Delivered()]
    errors = {outcome.failure.error_type for outcome in outcomes[0] if isinstance(outcome, Failed)}
    assert errors == {"ConnectTimeout"}


async def test_a_name_that_resolves_to_a_forbidden_address_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rebound(*_: object, **__: object) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", 1))]

    async with misbehaving(hang_before_reading) as server:
        async with transport(f"https://ledger.example.com:{server.port}/", allow_private=False) as made:
            monkeypatch.setattr("socket.getaddrinfo", rebound)
            [outcome] = await made.send([claim()])
        assert server.connections == 0
    assert isinstance(outcome, Failed)
    assert outcome.failure.error_type == "AddressForbidden"


async def test_the_cancellation_of_the_caller_closes_the_connection() -> None:
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def behaviour(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()
        closed.set()

    async with misbehaving(behaviour) as server, transport(server.url, timeout=60_000) as made:
        sending = asyncio.create_task(made.send([claim(), claim()]))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(5):
            await closed.wait()


# TLS


class Authority:
    """A certificate authority, and a server's certificate signed by it."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", days: int = 1) -> None:
        self._folder = folder
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.fromtimestamp(SystemClock().now() / 1000, UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key = folder / "key.pem"
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Hostile]:
        """An https server that answers 204."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        async with receiving() as receiver:
            runner = web.AppRunner(_application(receiver), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            try:
                yield Hostile(port=runner.addresses[0][1])
            finally:
                await runner.cleanup()

    def trusted(self) -> ssl.SSLContext:
        """What a client needs to trust the server."""
        return ssl.create_default_context(cafile=str(self.certificate))


def _application(receiver: Receiver) -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    return application


async def test_a_delivery_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with authority.serving() as server:
        url = f"https://127.0.0.1:{server.port}/"
        assert await send_one(url, tls=authority.trusted()) == Delivered()


async def test_a_certificate_of_nobody_that_is_trusted_is_refused(tmp_path: Path) -> None:
    async with Authority(tmp_path).serving() as server:
        failed = await fail_one(f"https://127.0.0.1:{server.port}/")
    assert failed.failure.error_type == "CertificateInvalid"


@pytest.mark.parametrize("flaw", [{"days": -1}, {"address": "127.0.0.2"}])
async def test_a_certificate_that_is_expired_or_of_another_host_is_refused(
    tmp_path: Path, flaw: dict[str, Any]
) -> None:
    authority = Authority(tmp_path, **flaw)
    async with authority.serving() as server:
        failed = await fail_one(f"https://127.0.0.1:{server.port}/", tls=authority.trusted())
    assert failed.failure.error_type == "CertificateInvalid"


async def test_https_to_a_server_of_plain_http_is_a_failure(receiver: Receiver) -> None:
    failed = await fail_one(f"https://127.0.0.1:{receiver.port}/")
    assert failed.failure.error_type in ("TLSError", "ConnectionFailed")
    assert receiver.requests == []


# Configuration


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Bad": "a\r\nx-evil: 1"}, "printable ASCII"),
        ({"X-Bad": "a\nb"}, "printable ASCII"),
        ({"X-Bad": "a\0b"}, "printable ASCII"),
        ({"X-Bad": "ä"}, "printable ASCII"),
        ({"X Bad": "a"}, "no name of a header"),
        ({"X-Bad\r\nx-evil": "a"}, "no name of a header"),
        ({"": "a"}, "no name of a header"),
        ({"Host": "internal"}, "not yours"),
        ({"Connection": "close"}, "not yours"),
        ({"Transfer-Encoding": "chunked"}, "not yours"),
        ({"Content-Length": "1"}, "not yours"),
        ({"Upgrade": "h2c"}, "not yours"),
        ({"TE": "trailers"}, "not yours"),
        ({"Proxy-Authorization": "x"}, "not yours"),
        ({"Webhook-Id": "x"}, "not yours"),
        ({"webhook-anything": "x"}, "not yours"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str], expected: str) -> None:
    settings = DestinationSettings(url="https://ledger.example.com/", headers=headers)
    with pytest.raises(ConfigurationError, match=expected):
        HttpTransport("ledger", settings, [], SystemClock())


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "plain text",
        "whsec_",
        "whsec_!!!",
        "whsec_" + base64.b64encode(b"short").decode(),
        base64.b64encode(b"long enough, but without prefix").decode(),
    ],
)
def test_secrets_that_are_none_of_standard_webhooks_are_refused_and_not_shown(secret: str) -> None:
    settings = DestinationSettings(url="https://ledger.example.com/")
    with pytest.raises(ConfigurationError, match="env:LEDGER_SECRET is none of Standard Webhooks") as caught:
        HttpTransport("ledger", settings, [Secret(secret, "env:LEDGER_SECRET")], SystemClock())
    assert len(secret) < 7 or secret not in str(caught.value)


def test_a_url_that_cannot_be_reached_is_refused_when_the_transport_is_made() -> None:
    settings = DestinationSettings(url="http://127.0.0.1/")
    with pytest.raises(ConfigurationError, match="allow_private"):
        HttpTransport("ledger", settings, [], SystemClock())
