"""Fetching keys over real connections: what is asked, what is taken, and what is never reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from surehook.packs import Fetched, Found, KeySource
from surehook.secrets import Secret
from surehook.wiring.keys import key_fetcher
from tests.unit.packs.key_server import serving


def source(url: str, post: str | None = None) -> KeySource:
    return KeySource(url, Found, None if post is None else Secret(post, "env:POST"))


async def test_keys_are_asked_for_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(tmp_path) as server:
        server.answer = (200, b'{"keys":[]}', {"cache-control": "public, max-age=19845, must-revalidate"})
        assert await server.fetch()(source(server.url("/certs?a=b"))) == Fetched(b'{"keys":[]}', 19845)
        assert server.asked == [("GET", "/certs?a=b", b"")]
        assert server.headers[0].keys() <= {"host", "user-agent", "accept-encoding", "accept"}
        assert server.headers[0]["accept-encoding"] == "identity"
        server.answer = (200, b"x", {"set-cookie": "a=b", "cache-control": "s-max-age=1"})
        assert await server.fetch()(source(server.url(), '{"key_id":"1"}')) == Fetched(b"x", None)
        assert server.asked[1] == ("POST", "/keys", b'{"key_id":"1"}')
        assert server.headers[1]["content-type"] == "application/json"
        assert "cookie" not in server.headers[1]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((302, b"", {"location": "/other"}), "status 302"),
        ((500, b"keys", {}), "status 500"),
        ((204, b"", {}), "status 204"),
        ((200, b"x" * (256 * 1024 + 1), {}), "more than 262144 bytes"),
        ((200, b"x", {"content-encoding": "gzip"}), "compresses"),
    ],
    ids=["redirect", "failure", "nothing", "too large", "compressed"],
)
async def test_an_answer_that_is_not_taken(
    tmp_path: Path, answer: tuple[int, bytes, dict[str, str]], why: str
) -> None:
    async with serving(tmp_path) as server:
        server.answer = answer
        with pytest.raises(ValueError, match=why):
            await server.fetch()(source(server.url()))
        assert len(server.asked) == 1


async def test_a_source_may_answer_with_other_statuses(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        server.answer = (400, b"no such key", {})
        one = KeySource(server.url(), Found, statuses=(200, 400))
        assert await server.fetch()(one) == Fetched(b"no such key")


async def test_the_largest_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        server.answer = (200, b"x" * 256 * 1024, {})
        assert len((await server.fetch()(source(server.url()))).body) == 256 * 1024


async def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        server.open.clear()
        with pytest.raises(TimeoutError):
            await server.fetch(0.3)(source(server.url()))


async def test_only_public_addresses_are_reached_and_only_by_https(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        with pytest.raises(OSError, match="Cannot connect"):
            await key_fetcher(tls=server.trusted)(source(server.url()))
        with pytest.raises(OSError, match="certificate"):
            await key_fetcher(allow_private=True)(source(server.url()))
        for url in (server.url(scheme="http"), "https://user@127.0.0.1/", "file:///etc/hosts", "keys"):
            with pytest.raises(ValueError, match="over https"):
                await server.fetch()(source(url))
        assert server.asked == []
        assert await server.fetch()(source(server.url())) == Fetched(b"keys")
