"""Every limit at the limit and one past it, slow and hostile clients, and requests that can be read in two ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from tests.unit.ingest.http_support import (
    Client,
    Shelf,
    Site,
    Sites,
    chunked,
    get,
    head,
    post,
    problem,
    until,
    unverified,
)

from surehook.ingest.problems import Message

BODY = b'{"id":"1"}'


# --- sizes


@pytest.mark.parametrize("way", ["content-length", "one chunk", "small chunks"])
@pytest.mark.parametrize(("size", "status"), [(2000, 200), (2001, 413)])
async def test_the_body_limit(sites: Sites, way: str, size: int, status: int) -> None:
    site = await sites.site({"acme": unverified(max_body=2000)})
    body = BODY.ljust(size)
    if way == "content-length":
        data = post(body)
    else:
        step = size if way == "one chunk" else 7
        parts = [body[start : start + step] for start in range(0, size, step)]
        data = head("Transfer-Encoding: chunked") + chunked(*parts)
    reply = await site.ask(data)
    assert reply.status == status
    if status == 200:
        assert site.shelf.arrivals[0].payload.body == body
    else:
        assert (problem(reply), reply.closes) == ("body-too-large", True)
        assert site.shelf.arrivals == []
    assert site.intake.bytes_in_flight == 0


async def test_a_length_over_the_limit_is_refused_before_anything_is_read(sites: Sites) -> None:
    site = await sites.site()
    for length in (1024 * 1024 + 1, 99_999_999_999):
        assert (await site.ask(head(f"Content-Length: {length}"))).status == 413


async def test_a_large_body_arrives_whole_and_one_that_is_too_large_is_told_so(sites: Sites) -> None:
    site = await sites.site({"acme": unverified(max_body=4_000_000)})
    body = BODY.ljust(4_000_000)
    assert (await site.ask(post(body))).status == 200
    assert site.shelf.arrivals[0].payload.body == body
    # The client sends all of it before it looks for an answer, and still gets to see it.
    async with await site.connect() as client:
        client.send(post(body + b" "))
        await client.writer.drain()
        assert (await client.reply()).status == 413


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x"])
async def test_encoded_bodies_are_415(sites: Sites, encoding: str) -> None:
    site = await sites.site()
    reply = await site.ask(post(BODY, f"Content-Encoding: {encoding}"))
    assert (reply.status, problem(reply)) == (415, "encoded-body")
    assert (await site.ask(post(BODY, "Content-Encoding: identity"))).status == 200


def lines(count: int, size: int) -> list[str]:
    """So many header lines; name and value of each are so many bytes together."""
    return [f"X-{number:04}: {'v' * (size - 6)}" for number in range(count)]


#: ``post`` itself sends Host (5 bytes) and Content-Length: 10 (16 bytes).
OWN = 5 + 16


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        (lines(98, 10), 200),
        (lines(99, 10), 431),
        (lines(1, 8192), 200),
        (lines(1, 8193), 431),
        ([*lines(7, 8192), f"X: {'v' * (8191 - OWN)}"], 200),
        ([*lines(7, 8192), f"X: {'v' * (8192 - OWN)}"], 431),
    ],
    ids=["count", "count + 1", "one", "one + 1", "together", "together + 1"],
)
@pytest.mark.parametrize("before", [b"", post(BODY)], ids=["first", "after another"])
async def test_the_header_limits(sites: Sites, extra: list[str], status: int, before: bytes) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(before + post(BODY, *extra))
        if before:
            assert (await client.reply()).status == 200
        reply = await client.reply()
    assert reply.status == status
    if status != 200:
        assert (problem(reply), reply.closes) == ("headers-too-large", True)


@pytest.mark.parametrize(("length", "status"), [(2048, 200), (2049, 414)])
async def test_the_url_limit(sites: Sites, length: int, status: int) -> None:
    site = await sites.site()
    path = "/webhooks/acme?"
    reply = await site.ask(post(BODY, path=path + "q" * (length - len(path))))
    assert reply.status == status


@pytest.mark.parametrize(
    ("start", "flood", "status"),
    [
        (head()[:-2], b"".join(b"x-%d: y\r\n" % number for number in range(20_000)), 431),
        (head()[:-2] + b"x: ", b"y" * 1024 * 1024, 431),
        (head()[:-2], b"x" * 1024 * 1024, 431),
        (b"POST /", b"x" * 200_000, 414),
    ],
    ids=["20000 headers", "a header of 1 MB", "a header name of 1 MB", "a URL of 200 kB"],
)
async def test_a_flood_of_headers_is_stopped_without_an_end(
    sites: Sites, start: bytes, flood: bytes, status: int
) -> None:
    site = await sites.site()
    reply = await site.ask(start + flood)
    assert (reply.status, reply.closes) == (status, True)
    assert site.shelf.arrivals == []


async def test_the_connection_limit(sites: Sites) -> None:
    site = await sites.site(max_connections=2)
    first, second = await site.connect(), await site.connect()
    async with first:
        async with second:
            await until(lambda: site.server.connections == 2)
            async with await site.connect() as third:
                reply = await third.reply()
            assert (reply.status, problem(reply)) == (503, "too-many-connections")
            assert "retry-after" in reply.headers
        await until(lambda: site.server.connections == 1)
        assert (await site.ask(post())).status == 200


async def test_the_budget_for_bodies_in_flight(sites: Sites) -> None:
    """A large body is refused at the budget's end; small ones get in even beyond it."""
    site = await sites.site(max_bytes_in_flight=200_000)
    large = BODY.ljust(100_000)
    async with await site.connect() as slow:
        slow.send(head("Content-Length: 100001") + b" " * 100_000)
        await until(lambda: site.intake.bytes_in_flight == 100_000)
        assert (await site.ask(post(large))).status == 200
        reply = await site.ask(post(large + b" "))
        assert (reply.status, problem(reply)) == (503, "overloaded")
        assert "retry-after" in reply.headers
        async with await site.connect() as other:
            other.send(head("Content-Length: 100001") + b" " * 100_000)
            await until(lambda: site.intake.bytes_in_flight == 200_000)
            assert (await site.ask(post(BODY))).status == 200
        slow.send(b" ")
        assert (await slow.reply()).status == 200
    await until(lambda: site.intake.bytes_in_flight == 0)


# --- time


async def trickle(client: Client, data: bytes) -> bytes:
    """Send it byte by byte until the server has had enough; what it answered."""

    async def drip() -> None:
        for byte in data:
            client.send(bytes([byte]))
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    try:
        return await client.closed()
    finally:
        dripping.cancel()


SLOW: dict[str, Any] = {"receive_timeout": 300, "keep_alive": 300}


@pytest.mark.parametrize("start", [b"", head("Content-Length: 5000")], ids=["header", "body"])
async def test_a_request_that_trickles_in_is_ended_by_the_total_deadline(sites: Sites, start: bytes) -> None:
    site = await sites.site(receive_timeout=300)
    began = asyncio.get_running_loop().time()
    async with await site.connect() as client:
        client.send(start)
        answer = await trickle(client, b"POST /" + b"x" * 3000)
    took = asyncio.get_running_loop().time() - began
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert 0.29 <= took < 10  # 3000 bytes would take 30 s; a float clock may show a hair under 0.3
    await until(lambda: site.server.connections == 0)
    assert site.intake.bytes_in_flight == 0
    assert site.shelf.arrivals == []


async def test_a_chunked_body_that_stops_is_ended(sites: Sites) -> None:
    site = await sites.site(**SLOW)
    async with await site.connect() as client:
        client.send(head("Transfer-Encoding: chunked") + b"5\r\nab")
        assert (await client.reply()).status == 408


@pytest.mark.parametrize("dribble", [b"", b"\r\n" * 1500], ids=["silent", "line ends"])
@pytest.mark.parametrize("before", [b"", post(BODY)], ids=["new", "kept"])
async def test_an_idle_connection_is_closed(sites: Sites, before: bytes, dribble: bytes) -> None:
    site = await sites.site(**SLOW)
    async with await site.connect() as client:
        if before:
            client.send(before)
            assert (await client.reply()).status == 200
        with contextlib.suppress(ConnectionResetError):  # a line end that was under way when it was closed
            assert await trickle(client, dribble) == b""
    assert site.server.connections == 0


async def test_waiting_for_the_commit_is_no_fault_of_the_client(sites: Sites) -> None:
    site = await sites.site(**SLOW)
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(BODY) + post(BODY))
        await until(lambda: site.shelf.waiting == 1)
        await asyncio.sleep(0.8)  # the client's deadlines pass, twice
        site.shelf.open.set()
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]


async def test_a_client_that_never_reads_its_answers_is_given_up(sites: Sites) -> None:
    site = await sites.site({"acme": unverified(response_body="x" * 500_000)}, **SLOW)
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, ("127.0.0.1", site.port))
        await loop.sock_sendall(deaf, post(BODY) * 60)
        await until(lambda: len(site.shelf.arrivals) > 0)
        await until(lambda: site.server.connections == 0)
    assert len(site.shelf.arrivals) < 60


@pytest.mark.parametrize(("count", "statuses"), [(65, [200] * 65), (66, [200] * 65 + [503])])
async def test_the_pipeline_limit(sites: Sites, count: int, statuses: list[int]) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(get("/livez") * count)
        assert [(await client.reply()).status for _ in range(count)] == statuses


async def test_pipelined_requests_are_not_read_ahead_of_those_that_wait(sites: Sites) -> None:
    site = await sites.site()
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(BODY) * 60)
        await until(lambda: site.shelf.waiting == 1)
        client.send(post(BODY) * 60)  # together they would be over the limit, if all were read at once
        site.shelf.open.set()
        assert [(await client.reply()).status for _ in range(120)] == [200] * 120


async def test_where_the_server_has_no_deadline_the_application_keeps_it() -> None:
    site = Site({"acme": unverified()}, receive_timeout=50)
    sent: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/webhooks/acme",
        "query_string": b"",
        "headers": [(b"content-length", b"10")],
    }
    first = [{"type": "http.request", "body": b"abc", "more_body": True}]

    async def receive() -> Message:
        if first:
            return first.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await site.app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert site.intake.bytes_in_flight == 0


# --- requests that can be read in two ways

NEXT = post(b'{"id":"smuggled"}')


def request(*lines: bytes, body: bytes = b"", start: bytes = b"POST /webhooks/acme HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: x", *lines, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"
AMBIGUOUS = {
    "CL and TE": request(b"Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"),
    "TE and CL": request(CHUNKED, b"Content-Length: 3", body=b"0\r\n\r\n"),
    "equal CL twice": request(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "two CL": request(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),
    "CL list": request(b"Content-Length: 3, 3", body=b"abc"),
    "CL +3": request(b"Content-Length: +3", body=b"abc"),
    "CL 1_0": request(b"Content-Length: 1_0", body=b"0123456789"),
    "CL -1": request(b"Content-Length: -1", body=b"abc"),
    "CL 0x3": request(b"Content-Length: 0x3", body=b"abc"),
    "CL empty": request(b"Content-Length:", body=b"abc"),
    "CL overflow": request(b"Content-Length: 18446744073709551619", body=b"abc"),
    "CL with space before the colon": request(b"Content-Length : 3", body=b"abc"),
    "TE xchunked": request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "TE chunked, identity": request(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "TE gzip, chunked": request(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "TE identity": request(b"Transfer-Encoding: identity", body=b"abc"),
    "TE twice": request(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "TE then another": request(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "TE with space before the colon": request(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "TE behind a vertical tab": request(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "TE in HTTP/1.0": request(CHUNKED, body=b"0\r\n\r\n", start=b"POST /webhooks/acme HTTP/1.0"),
    "chunks ended by LF": request(CHUNKED, body=b"3\nabc\n0\n\n"),
    "chunk size 0x3": request(CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size -1": request(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"),
    "chunk size with space": request(CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size overflow": request(CHUNKED, body=b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": request(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk extension ended by LF": request(CHUNKED, body=b"3;a\nabc\r\n0\r\n\r\n"),
    "chunk extension of 100 kB": request(CHUNKED, body=b"3;" + b"a" * 100_000 + b"\r\nabc\r\n0\r\n\r\n"),
    "trailers of 200 kB": request(CHUNKED, body=b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 34_000 + b"\r\n"),
    "obs-fold": request(b"X-A: a", b" b", b"Content-Length: 0"),
    "folded first line": request().replace(b"Host", b" Host"),
    "NUL in a value": request(b"X-A: a\0b", b"Content-Length: 0"),
    "NUL in a name": request(b"X\0A: b", b"Content-Length: 0"),
    "CR in a value": request(b"X-A: a\rb", b"Content-Length: 0"),
    "LF as a line end": request(b"X-A: a\nX-B: b", b"Content-Length: 0"),
    "control character": request(b"X-A: a\x01b", b"Content-Length: 0"),
    "no colon": request(b"XA", b"Content-Length: 0"),
    "empty name": request(b": a", b"Content-Length: 0"),
    "no host": b"POST /webhooks/acme HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": request(b"Host: y", b"Content-Length: 0"),
    "upgrade with a body": request(b"Connection: upgrade", b"Upgrade: x", b"Content-Length: 3", body=b"abc"),
    "websocket": request(b"Connection: upgrade", b"Upgrade: websocket", start=b"GET /livez HTTP/1.1"),
    "CONNECT": request(start=b"CONNECT acme:80 HTTP/1.1"),
    "HTTP/2.0": request(b"Content-Length: 0", start=b"POST /webhooks/acme HTTP/2.0"),
    "HTTP/1.2": request(b"Content-Length: 0", start=b"POST /webhooks/acme HTTP/1.2"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "method in lower case": request(b"Content-Length: 0", start=b"post /webhooks/acme HTTP/1.1"),
    "space in the path": request(b"Content-Length: 0", start=b"POST /webhooks/a cme HTTP/1.1"),
    "NUL in the path": request(b"Content-Length: 0", start=b"POST /webhooks/acme\0 HTTP/1.1"),
    "latin-1 in the path": request(b"Content-Length: 0", start=b"POST /webhooks/\xffcme HTTP/1.1"),
    "no path": request(b"Content-Length: 0", start=b"POST http://x HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_request_is_400_and_nothing_after_it_is_read(sites: Sites, data: bytes) -> None:
    site = await sites.site()
    [reply] = await site.ask_all(data + NEXT)
    assert (reply.status, problem(reply), reply.closes) == (400, "bad-request", True)
    assert site.shelf.arrivals == []
    assert site.intake.bytes_in_flight == 0


async def test_a_body_after_a_refused_upgrade_is_not_the_next_request(sites: Sites) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(request(b"Connection: upgrade", b"Upgrade: x", b"Content-Length: %d" % len(NEXT)))
        assert (await client.reply()).status == 400
        client.send(NEXT)
        assert await client.closed() == b""
    assert site.shelf.arrivals == []


async def test_trailers_do_not_pass_for_headers(sites: Sites) -> None:
    site = await sites.site()
    data = head("Transfer-Encoding: chunked") + chunked(BODY, end=b"0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n")
    async with await site.connect() as client:
        client.send(data + post(b'{"id":"2"}'))
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]
    names = {name for each in site.shelf.arrivals for name, _ in each.payload.headers}
    assert "x-trailer" not in names


async def test_a_body_in_chunks_of_one_byte_with_an_extension_each(sites: Sites) -> None:
    site = await sites.site()
    body = BODY.ljust(8_000)
    chunks = b"".join(b"1;a\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert (await site.ask(head("Transfer-Encoding: chunked") + chunks)).status == 200
    assert site.shelf.arrivals[0].payload.body == body


async def test_a_body_that_is_mostly_framing_is_refused(sites: Sites) -> None:
    site = await sites.site()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY.ljust(100_000))
    assert (await site.ask(head("Transfer-Encoding: chunked") + chunks)).status == 400


async def test_white_space_after_a_value_is_none_of_it(sites: Sites) -> None:
    site = await sites.site()
    assert (await site.ask(head(f"Content-Length: {len(BODY)} \t") + BODY)).status == 200


@pytest.mark.parametrize(
    "data", [post(BODY), head("Transfer-Encoding: chunked") + chunked(BODY)], ids=["CL", "TE"]
)
async def test_a_request_split_at_every_byte_is_the_same_request(sites: Sites, data: bytes) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.reply()).status == 200
    shelf: Shelf = site.shelf
    assert shelf.arrivals[0].payload.body == BODY
