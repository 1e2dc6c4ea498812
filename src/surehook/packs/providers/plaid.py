"""Plaid: a token beside the body holds its digest, signed with a key that Plaid's API hands out by its id."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Joined, Reads
from surehook.packs.request import BadSignature, Delivery, Draft, Found, KeySource, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.jwt import parse_compact, verify_compact, write_compact
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import check_time
from surehook.packs.schemes.published import Jwk, es256_keys, pinned_pairs, signer
from surehook.secrets import Secret

_HOSTS: Final = {"production": "https://production.plaid.com", "sandbox": "https://sandbox.plaid.com"}
_HEADER: Final = "plaid-verification"
_ALGORITHM: Final = "ES256"
_KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNKNOWN: Final = "INVALID_WEBHOOK_VERIFICATION_KEY_ID"


class _Answer(msgspec.Struct, frozen=True):
    key: Jwk | None = None
    error_code: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)


def _key_of(kid: str, body: bytes) -> Found:
    """What Plaid answers: the key, or that there is none of this id. Raises ValueError for anything else."""
    answer = _ANSWER.decode(body)
    if answer.key is None:
        if answer.error_code == _UNKNOWN:
            return Found(None)
        raise ValueError(f"Plaid answers {answer.error_code or 'without a key'}")
    if answer.key.kid != kid or answer.key.pair() is None:
        raise ValueError("Plaid answers with another key")
    return Found(answer.key)


class _Scheme:
    def __init__(self, setup: Setup) -> None:
        settings = setup.settings
        environment = settings.environment or "production"
        if environment not in _HOSTS:
            raise ConfigurationError(f"environment = {environment!r} is neither 'production' nor 'sandbox'")
        if not settings.client_id and not settings.keys:
            raise ConfigurationError(
                "client_id is needed, since Plaid hands out its keys to its clients only; it stands beside the secret"
            )
        self._url = f"{_HOSTS[environment]}/webhook_verification_key/get"
        self._client = settings.client_id or ""
        self._secret = setup.secrets[0]
        self._pinned = es256_keys(pinned_pairs(setup.pinned))
        self._store = setup.store
        self._tolerance = setup.tolerance() * 1000

    def verify(self, request: Request) -> str:
        token = request.only(_HEADER)
        claims, _ = verify_compact(token, _ALGORITHM, self._keys(token, request))
        issued, digest = claims.get("iat"), claims.get("request_body_sha256")
        check_time(issued * 1000 if type(issued) is int else None, request, self._tolerance)
        wanted = hashlib.sha256(request.body).hexdigest()
        if not isinstance(digest, str) or not hmac.compare_digest(_bytes(digest), _bytes(wanted)):
            raise BadSignature("the token is for another body (request_body_sha256)")
        return self._secret.reference

    def sign(self, draft: Draft) -> Delivery:
        digest = hashlib.sha256(draft.body).hexdigest()
        claims = {"iat": draft.now // 1000, "request_body_sha256": digest}
        token = write_compact(claims, _ALGORITHM, signer(self._pinned))
        return Delivery({_HEADER: token}, draft.body, draft.query, draft.method)

    def _keys(self, token: str, request: Request) -> Sequence[Key]:
        if self._pinned:
            return self._pinned
        header, *_ = parse_compact(token, _ALGORITHM)
        kid = header.get("kid")
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            raise BadSignature("the token does not say which key signed it (kid)")
        key = self._store.find(self._source(kid), request.now)
        if key is None:
            raise BadSignature("Plaid has no key of this id (kid)")
        if key.expired_at is not None and key.expired_at * 1000 <= request.now:
            raise BadSignature("Plaid has retired the key of this id (kid)")
        return es256_keys([key.pair()])

    def _source(self, kid: str) -> KeySource:
        asked = {"client_id": self._client, "secret": self._secret.reveal(), "key_id": kid}
        post = Secret(msgspec.json.encode(asked).decode(), self._secret.reference)
        # a retired key says so only when it is asked for again
        return KeySource(self._url, partial(_key_of, kid), post, kid, statuses=(200, 400))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


class Plaid(Pack):
    """The keys come from Plaid's API, which wants ``client_id`` and your secret; ``environment = "sandbox"`` asks that one.

    Webhooks have no id and repeat word for word (``SYNC_UPDATES_AVAILABLE``), so every delivery is an event, also when Plaid
    delivers one again: write handlers that bear it. Of several secrets the first one is used.
    """

    name = "plaid"
    summary = "Plaid webhooks"
    docs_url = "https://plaid.com/docs/api/webhooks/webhook-verification/"
    certainty = "official formula"
    proof = "`plaid-verification`: a JWT (ES256) with the body's SHA-256"
    credential = (
        "your Plaid secret of the environment: Dashboard, Developers, Keys; client_id stands beside it"
    )
    settings = frozenset({"keys", "client_id", "environment", "tolerance"})
    example = ProviderSettings(client_id="5b0000000000000000000000")
    bodies_repeat = True
    reads = Reads(type=Joined(("body:/webhook_type", "body:/webhook_code")), subject="body:/item_id")
    sample_type = "TRANSACTIONS.SYNC_UPDATES_AVAILABLE"
    sample_body = {
        "webhook_type": "TRANSACTIONS",
        "webhook_code": "SYNC_UPDATES_AVAILABLE",
        "item_id": "wz666MBjYWTp2PDzzggYhM6oWWmBb",
        "initial_update_complete": True,
        "historical_update_complete": False,
        "environment": "production",
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)


PACK: Final[Pack] = Plaid()
