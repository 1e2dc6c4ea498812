"""Every published vector and handshake over a real connection: what the endpoint answers and hands to the inbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.ingest.http_support import Client, Reply, Site, Sites

from surehook.config import ServerSettings
from surehook.packs import Provider, Received
from surehook.packs.vectors import Row, Sent, provider_of, read_rows, request_of

DATA = Path(__file__).parents[2] / "data" / "signatures"
FILES = sorted(DATA.glob("*.jsonl"))
#: For handshakes of senders that sign their address but name none in the row.
SERVER = ServerSettings(public_url="https://receiver.example")


def rows(path: Path) -> Sequence[Row]:
    with path.open("rb") as file:
        return read_rows(file)


def with_keys(row: Row) -> Row:
    """A handshake's sender publishes the keys that its vectors were made with."""
    if row.request is None or not (DATA / f"{row.pack}.jsonl").exists():
        return row
    return replace(row, aux=rows(DATA / f"{row.pack}.jsonl")[0].aux)


def build(row: Row, name: str) -> Provider:
    return provider_of(row, name)


def as_sent(row: Row, name: str) -> bytes:
    """The request as it goes over the wire."""
    sent = row.request or Sent(row.method, row.headers, row.body_base64, row.query)
    target = f"/webhooks/{name}" + (f"?{sent.query}" if sent.query else "")
    lines = [f"{sent.method} {target} HTTP/1.1"]
    given = {"Host": "receiver.example", "Content-Length": str(len(sent.body_base64)), **sent.headers}
    lines += [f"{header}: {value}" for header, value in given.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + sent.body_base64


async def exchange(site: Site, row: Row, name: str) -> Reply:
    site.clock.advance(request_of(row, site.clock.now()).now - site.clock.now())
    async with await Client.to(site.port) as client:
        client.send(as_sent(row, name))
        return await client.reply()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_the_endpoint_answers_as_every_row_demands(sites: Sites, path: Path) -> None:
    known = {f"p{number}": with_keys(row) for number, row in enumerate(rows(path))}
    site = await sites.site({name: build(row, name) for name, row in known.items()})
    for name, row in known.items():
        stored = len(site.shelf.arrivals)
        reply = await exchange(site, row, name)
        if row.expected_response is not None:
            check_answer(row, reply)
            # a subscription that is confirmed is an event as well
            assert len(site.shelf.arrivals) - stored == int(row.expected_response.then is not None)
            continue
        fresh = site.shelf.arrivals[stored:]
        if row.expect == "reject":
            assert (row.id, reply.status, fresh) == (row.id, 401, [])
            assert row.secret not in reply.body.decode("latin-1")
            continue
        assert 200 <= reply.status < 300, row.id
        verdict = site.providers[name].receive(request_of(row, site.clock.now()))
        wanted = verdict.events if isinstance(verdict, Received) else ()
        found = [event for arrival in fresh for event in arrival.events]
        assert [(each.external_id, each.type) for each in found if not each.weak] == [
            (each.external_id, each.type) for each in wanted if not each.weak
        ]
        assert len(found) == len(wanted)


def check_answer(row: Row, reply: Reply) -> None:
    """A handshake's answer, on the wire."""
    wanted = row.expected_response
    assert wanted is not None
    assert reply.status == wanted.status, row.name
    if wanted.body is not None:
        assert reply.body.decode() == wanted.body, row.name
    if wanted.json is not None:
        assert json.loads(reply.body) in (wanted.json, wanted.json_alt), row.name
    for name, value in wanted.headers.items():
        assert reply.headers[name.lower()] == value.lower(), row.name  # the client of these tests lowers them
    if wanted.content_type is not None:
        assert reply.headers["content-type"].startswith(wanted.content_type), row.name


def test_the_files_are_read() -> None:
    found = [row for path in FILES for row in rows(path)]
    assert len(found) > 200
    assert {row.expect for row in found} == {"accept", "reject", None}
