"""A flood of forged and broken requests for every pack: none is stored, none fails, none leaves a traceback."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import pytest
from msgspec.structs import replace
from tests.unit.ingest.http_support import Client, Site, Sites
from tests.unit.packs import support
from tests.unit.packs.support import (
    BODY_IS_NOT_SIGNED,
    NOW,
    SIGNED_INSIDE,
    VERIFYING,
    delivery,
    example,
)

from surehook.packs import PACKS, Delivery

#: Over all packs; each of both ways into ingest gets half of them.
REQUESTS: Final = 50_000
#: Sent at once on each connection, one after another.
CLIENTS: Final = 16
#: What a request that proves nothing may be answered with.
REFUSALS: Final = {400, 401, 403, 405, 413, 415}

Forge = Callable[[random.Random, str], Delivery]


@cache
def genuine(pack: str) -> Delivery:
    """What the sender would send; everything hostile is made from it. Some keys take long to read."""
    return delivery(pack, PACKS[pack].sample(), PACKS[pack].sample_type)


@cache
def forged(pack: str) -> Delivery:
    """Signed with a secret of the right form that is not the live one."""
    return support.forged(pack, PACKS[pack].sample(), PACKS[pack].sample_type)[0]


def by_another_secret(chance: random.Random, pack: str) -> Delivery:
    """Also in other case, or cut short."""
    sent = forged(pack)
    cut = chance.random()
    changes: Sequence[Callable[[str], str]] = [
        str.strip,
        str.upper,
        str.swapcase,
        lambda text: text[: int(cut * len(text))],
    ]
    change = chance.choice(changes)
    return replace(sent, headers={name: change(value) for name, value in sent.headers.items()})


def without_a_header(chance: random.Random, pack: str) -> Delivery:
    """All that prove something are left out, and perhaps others."""
    sent = genuine(pack)
    kept = {name: value for name, value in sent.headers.items() if name == "content-type"}
    return replace(sent, headers=kept, body=chance.randbytes(chance.randrange(300)), query="")


def with_garbage(chance: random.Random, pack: str) -> Delivery:
    """Every header holds something else."""
    sent = genuine(pack)
    headers = {name: garbage(chance) for name in sent.headers}
    return replace(sent, headers=headers, body=chance.randbytes(chance.randrange(300)), query="")


def with_another_body(chance: random.Random, pack: str) -> Delivery:
    """A genuine signature of something else; where no signature covers the body, another proof."""
    if pack in BODY_IS_NOT_SIGNED | SIGNED_INSIDE:
        return by_another_secret(chance, pack)
    sent = genuine(pack)
    body = bytearray(sent.body)
    place = chance.randrange(len(body))
    body[place] ^= 1 << chance.randrange(8)
    return replace(sent, body=bytes(body))


def of_another_sender(chance: random.Random, pack: str) -> Delivery:
    """Genuine headers of another pack."""
    other = chance.choice([name for name in VERIFYING if name != pack])
    return replace(forged(other), method="POST")


FORGERIES: Final[Sequence[Forge]] = (
    by_another_secret,
    without_a_header,
    with_garbage,
    with_another_body,
    of_another_sender,
)


def garbage(chance: random.Random) -> str:
    """A header's value: any characters that HTTP allows."""
    alphabet = [chr(code) for code in range(32, 256) if code != 127]
    text = "".join(chance.choices(alphabet, k=chance.randrange(120)))
    return chance.choice(
        [text, text.strip(), "v1=" + text, "sha256=" + "0" * 64, "0" * 4000, "t=1,v1=2", ","]
    )


def raw(sent: Delivery, name: str) -> bytes:
    """The request on the wire."""
    target = f"/webhooks/{name}" + (f"?{sent.query}" if sent.query else "")
    headers = {**sent.headers, "Host": "x", "Content-Length": str(len(sent.body))}
    lines = [f"{sent.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + sent.body


async def ask(site: Site, requests: Sequence[tuple[str, Delivery]]) -> Counter[int]:
    """The statuses of the answers, over connections that are kept while the server keeps them."""
    statuses: Counter[int] = Counter()
    waiting = iter(requests)

    async def post() -> None:
        client = await Client.to(site.port)
        for name, sent in waiting:
            client.send(raw(sent, name))
            reply = await client.reply()
            statuses[reply.status] += 1
            if reply.closes:
                client.writer.close()
                client = await Client.to(site.port)
        client.writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(post())
    return statuses


async def test_nothing_forged_is_stored_and_nothing_fails(
    sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(20261122)
    names = {f"p{number}": pack for number, pack in enumerate(VERIFYING)}
    site = await sites.site({name: example(pack, name) for name, pack in names.items()})
    site.clock.advance(NOW - site.clock.now())
    requests = [
        (name, FORGERIES[number % len(FORGERIES)](chance, names[name]))
        for number, name in enumerate(chance.choices(list(names), k=REQUESTS // 2))
    ]
    statuses = await ask(site, requests)
    assert [arrival.payload for arrival in site.shelf.arrivals] == []
    assert statuses.total() == REQUESTS // 2
    assert set(statuses) <= REFUSALS, statuses
    assert statuses[401] > REQUESTS // 3
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []
