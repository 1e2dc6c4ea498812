"""What ``send`` sends for each pack: samples that differ, forgeries and stale ones that are refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from surehook.cli.forging import MARK, altered, distinct, forged, stale
from surehook.cli.send import Order as Wanted
from surehook.cli.send import Request, Sender, post_all, prepare
from surehook.clock import Millis
from surehook.errors import InvalidRequest
from surehook.packs import PACKS, Delivery, Draft, Provider, Received, Refused
from surehook.packs.describing import tolerance_of
from tests.unit.cli.conftest import CommandLine
from tests.unit.packs.support import NOW, VERIFYING, example, posted

PLAIN = Wanted(type=None, topic=None, body=None, count=3, duplicate=False, forge=False, stale=False, id=None)


def refuses(provider: Provider) -> Callable[[Delivery], bool]:
    return lambda sent: isinstance(provider.receive(posted(sent)), Refused)


def draft(pack: str, mark: str, now: int = NOW) -> Draft:
    body = distinct(PACKS[pack].sample(external_id=mark), mark, PACKS[pack].items)
    return Draft(body, Millis(now), mark, PACKS[pack].sample_type)


@pytest.mark.parametrize("pack", sorted(PACKS))
def test_what_is_sent_is_accepted_and_no_two_are_alike(pack: str) -> None:
    sender = example(pack)
    verdicts = [sender.receive(posted(sender.sign(draft(pack, f"test_{n}")))) for n in range(3)]
    events = [event for verdict in verdicts if isinstance(verdict, Received) for event in verdict.events]
    assert len({event.external_id for event in events}) == len(events) >= 3
    assert len({draft(pack, f"test_{n}").body for n in range(3)}) == 3


@pytest.mark.parametrize("pack", VERIFYING)
def test_a_forgery_is_refused_with_and_without_a_wrong_secret(pack: str) -> None:
    sender = example(pack)
    for forger in (None, sender):
        sent = forged(sender, forger, draft(pack, "test_1"), refuses(sender))
        assert refuses(sender)(sent)


def test_what_verifies_nothing_cannot_be_forged() -> None:
    sender = example("none")
    with pytest.raises(InvalidRequest, match="nothing that could be forged"):
        forged(sender, None, draft("none", "test_1"), refuses(sender))


@pytest.mark.parametrize("pack", sorted(PACKS))
def test_what_is_too_old_is_refused_or_cannot_be_stale(pack: str) -> None:
    age = 86_400_000 + 1000 * (tolerance_of(PACKS[pack], PACKS[pack].example) or 0)
    sender, old = example(pack), draft(pack, "test_1", NOW - age)
    assert not refuses(sender)(sender.sign(replace(old, now=NOW)))
    if refuses(sender)(sender.sign(old)):
        assert refuses(sender)(stale(sender, old, refuses(sender)))
        return
    assert tolerance_of(PACKS[pack], PACKS[pack].example) is None
    with pytest.raises(InvalidRequest, match="signs no time"):
        stale(sender, old, refuses(sender))


@pytest.mark.parametrize(
    ("body", "items", "wanted"),
    [
        (b'{"a":1}', None, b'{"a":1,"surehook_test":"m"}'),
        (b'{"id":"m"}', None, b'{"id":"m"}'),
        (b'[{"a":1},2]', "", b'[{"a":1,"surehook_test":"m-0"},2]'),
        (
            b'{"events":[{"a":1},{"a":1}]}',
            "/events",
            b'{"events":[{"a":1,"surehook_test":"m-0"},{"a":1,"surehook_test":"m-1"}],"surehook_test":"m"}',
        ),
        (b'{"other":1}', "/events", b'{"other":1,"surehook_test":"m"}'),
        (b"a=b&c=", None, b"a=b&c=&surehook_test=m"),
        (b"<a/>", None, b"<a/><!-- m -->"),
        (b"plain words", None, b"plain words"),
        (b"\xff", None, b"\xff"),
    ],
)
def test_a_sample_is_marked_where_it_can_be(body: bytes, items: str | None, wanted: bytes) -> None:
    assert distinct(body, "m", items) == wanted
    assert MARK == "surehook_test"


def test_an_altered_text_is_another_one_of_the_same_form() -> None:
    for text in ("whsec_AAAA", "a:b", "=", ""):
        assert altered(text) != text
    assert altered("whsec_AAAA") == "whsec_BAAA"


async def test_method_and_query_leave_as_they_were_signed() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((request.method, request.raw_path, await request.read()))
        return web.Response(text="{}")

    server = web.Application()
    server.router.add_route("*", "/{rest:.*}", take)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/x?a=%7e+%2F%20b&&c"
    try:
        for method in ("GET", "POST"):
            await post_all([Request(url, "e", b"body", {}, method)], False, lambda steps: None)
    finally:
        await runner.cleanup()
    assert seen == [(method, "/webhooks/x?a=%7e+%2F%20b&&c", b"body") for method in ("GET", "POST")]


def test_every_request_of_a_count_is_prepared_as_one_of_its_own() -> None:
    made = prepare(Sender(example("stripe"), PACKS["stripe"]), PLAIN, "http://h")
    assert len({request.external_id for request in made}) == 3
    assert {request.url for request in made} == {"http://h/webhooks/acme"}
    [old] = prepare(
        Sender(example("stripe"), PACKS["stripe"]),
        replace(PLAIN, count=1, stale=True, forge=True),
        "http://h",
    )
    assert old.headers != made[0].headers


def test_a_public_key_cannot_sign_and_what_to_do_is_told(
    surehook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    monkeypatch.setenv("PUBLIC", "whpk_" + base64.b64encode(public).decode())
    Path("surehook.toml").write_text(
        '[providers.hooks]\npack = "standard-webhooks"\nsecrets = ["env:PUBLIC"]\n'
    )
    for options in ((), ("--forge",), ("--stale",), ("--count", "3", "--duplicate")):
        result = surehook("send", "hooks", *options)
        assert result.exit_code == 2
        for part in (
            "a public key verifies but cannot sign",
            "make a key pair of your own",
            "never in production",
        ):
            assert part in result.stderr


def test_what_is_disabled_is_not_sent_for(surehook: CommandLine) -> None:
    Path("surehook.toml").write_text('[providers.stripe]\nenabled = false\nsecrets = ["env:NONE"]\n')
    result = surehook("send", "stripe")
    assert (result.exit_code, "is disabled" in result.stderr) == (2, True)
