"""Secrets that the sender hands over: taken once, kept in a file that outlives the process, and never replaced."""

from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.packs.support import received, refusal, request

from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError, Unavailable
from surehook.packs import Challenge, Provider, Request, build_provider
from surehook.secrets import resolve

EVENTS = b'{"events":[{"action":"changed","resource":{"gid":"1","resource_type":"task"}}]}'
PAGE = b'{"id":"p-1","type":"page.created"}'


def open_provider(pack: str, path: Path) -> Provider:
    """As every process of an installation builds it."""
    settings = ProviderSettings(pack=pack, secrets=(f"file:{path}",))
    return build_provider("acme", settings, resolve, ServerSettings())


def asana_handshake(secret: str) -> Request:
    return request(b"{}", {"X-Hook-Secret": secret})


def notion_handshake(token: str) -> Request:
    body = b'{"verification_token":"%s"}' % token.encode()
    return request(body, {"X-Notion-Signature": "sha256=" + signature(token, body)})


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(pack: str, secret: str) -> Request:
    if pack == "asana":
        return request(EVENTS, {"X-Hook-Signature": signature(secret, EVENTS)})
    return request(PAGE, {"X-Notion-Signature": "sha256=" + signature(secret, PAGE)})


FIRST, SECOND = "secret_0123456789abcdef0123", "secret_another0123456789abc"
PACKS = [("asana", asana_handshake), ("notion", notion_handshake)]
both = pytest.mark.parametrize(("pack", "handshake"), PACKS, ids=["asana", "notion"])
Handshake = Callable[[str], Request]


@both
def test_a_secret_that_is_handed_over_verifies_from_then_on(
    pack: str, handshake: Handshake, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    one = open_provider(pack, path)
    assert refusal(one, signed(pack, FIRST))
    verdict = one.receive(handshake(FIRST))
    assert isinstance(verdict, Challenge)
    assert verdict.status == 200
    assert path.read_text() == FIRST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert received(one, signed(pack, FIRST)).secret == f"file:{path}"
    assert refusal(one, signed(pack, SECOND))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["secret"]


@both
def test_it_is_known_to_other_processes_and_after_a_restart(
    pack: str, handshake: Handshake, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    first, second = open_provider(pack, path), open_provider(pack, path)
    first.receive(handshake(FIRST))
    assert received(second, signed(pack, FIRST))
    assert received(open_provider(pack, path), signed(pack, FIRST))


@both
def test_nobody_can_replace_it(pack: str, handshake: Handshake, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first, late = open_provider(pack, path), open_provider(pack, path)
    first.receive(handshake(FIRST))
    for one in (first, late, open_provider(pack, path)):
        assert "a secret is known" in refusal(one, handshake(SECOND))
    assert path.read_text() == FIRST


@both
def test_a_secret_of_ones_own_takes_none(pack: str, handshake: Handshake, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECOND)
    assert "a secret is known" in refusal(open_provider(pack, path), handshake(FIRST))
    assert path.read_text() == SECOND


@both
def test_what_cannot_be_kept_is_not_answered(
    pack: str, handshake: Handshake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender comes again, so nothing is lost; who is answered 200 would never send it again."""
    one = open_provider(pack, tmp_path / "secret")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            one.receive(handshake(FIRST))
    assert list(tmp_path.iterdir()) == []
    assert isinstance(one.receive(handshake(FIRST)), Challenge)


@pytest.mark.parametrize("secret", ["short", "with a space 0123456789", "x" * 300, "caf\xe9" * 8])
def test_an_odd_secret_is_not_taken(secret: str, tmp_path: Path) -> None:
    assert refusal(open_provider("asana", tmp_path / "secret"), asana_handshake(secret))
    assert list(tmp_path.iterdir()) == []


def test_a_token_must_sign_itself_where_it_is_signed(tmp_path: Path) -> None:
    one = open_provider("notion", tmp_path / "secret")
    forged = request(
        b'{"verification_token":"%s"}' % FIRST.encode(), {"X-Notion-Signature": "sha256=" + "0" * 64}
    )
    assert refusal(one, forged)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        open_provider("asana", tmp_path / "nowhere" / "secret")


def test_other_packs_want_their_secret_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        open_provider("stripe", tmp_path / "secret")
