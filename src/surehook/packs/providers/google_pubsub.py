"""Google Pub/Sub push: each request carries a token that Google has signed for your service account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from surehook.clock import Millis
from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.request import BadSignature, Delivery, Draft, KeySource, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.jwt import (
    check_audience,
    check_times,
    parse_compact,
    verify_compact,
    write_compact,
)
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.published import key_by_id, key_set, pinned_pairs, rsa_keys, signer

_KEYS: Final = KeySource("https://www.googleapis.com/oauth2/v3/certs", key_set)
_ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
_ALGORITHM: Final = "RS256"


class _Scheme:
    def __init__(self, setup: Setup) -> None:
        if not setup.settings.email:
            raise ConfigurationError(
                "email is needed, the service account of the push subscription: with a Google account of their own, "
                "anyone can have a token signed for any audience"
            )
        self._email = setup.settings.email
        self._audiences = {secret.reveal(): secret.reference for secret in setup.secrets}
        self._pinned = rsa_keys(pinned_pairs(setup.pinned))
        self._store = setup.store

    def verify(self, request: Request) -> str:
        word, _, token = request.only("authorization").partition(" ")
        if word.lower() != "bearer":
            raise BadSignature("the header authorization is not of the Bearer scheme")
        claims, _ = verify_compact(token, _ALGORITHM, self._keys(token, request.now))
        check_times(claims, request.now)
        if claims.get("iss") not in _ISSUERS:
            raise BadSignature("the token is not issued by Google (iss)")
        if claims.get("email") != self._email or claims.get("email_verified") is not True:
            raise BadSignature("the token is of another service account (email)")
        check_audience(claims, self._audiences)
        return next(self._audiences[each] for each in _listed(claims.get("aud")) if each in self._audiences)

    def sign(self, draft: Draft) -> Delivery:
        issued = draft.now // 1000
        claims = {
            "aud": next(iter(self._audiences)),
            "email": self._email,
            "email_verified": True,
            "exp": issued + 3600,
            "iat": issued,
            "iss": _ISSUERS[0],
        }
        token = write_compact(claims, _ALGORITHM, signer(self._pinned))
        return Delivery({"authorization": f"Bearer {token}"}, draft.body, draft.query, draft.method)

    def _keys(self, token: str, now: Millis) -> Sequence[Key]:
        if self._pinned:
            return self._pinned
        header, *_ = parse_compact(token, _ALGORITHM)
        return rsa_keys([key_by_id(self._store, _KEYS, header.get("kid"), now)])


def _listed(audience: object) -> Sequence[str]:
    return audience if isinstance(audience, list) else [str(audience)]


class GooglePubSub(Pack):
    """The token says who sends, not what: the body is not signed, so nothing but TLS protects it.

    The secret is the audience of the push subscription, by default the address that it posts to. ``email`` must name the
    subscription's service account, since anybody with a Google account gets tokens for any audience. A message's type is
    its attribute ``eventType``, ``ce-type`` or ``type``, else the topic of the URL. Unwrapped messages have their id in the
    header ``x-goog-pubsub-message-id`` if the subscription writes metadata.
    """

    name = "google-pubsub"
    summary = "Google Cloud Pub/Sub push subscriptions with authentication"
    docs_url = "https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions"
    certainty = "official library"
    proof = "`authorization`: a JWT (RS256) of Google for audience and service account"
    credential = (
        "the audience: Pub/Sub, Subscriptions, the subscription, Enable authentication. It is no secret"
    )
    settings = frozenset({"keys", "email"})
    example = ProviderSettings(email="push@project.iam.gserviceaccount.com")
    id_is_signed = False
    reads = Reads(
        id=("body:/message/messageId", "header:x-goog-pubsub-message-id"),
        type=(
            "body:/message/attributes/eventType",
            "body:/message/attributes/ce-type",
            "body:/message/attributes/type",
        ),
        subject="body:/message/orderingKey",
        occurred_at=("body:/message/publishTime", "header:x-goog-pubsub-publish-time"),
    )
    sample_type = "order.created"
    sample_body = {
        "message": {
            "attributes": {"eventType": "order.created"},
            "data": "eyJvcmRlciI6NDcxMX0=",
            "messageId": "136969346945",
            "publishTime": "2026-09-21T14:13:20.000Z",
        },
        "subscription": "projects/sample/subscriptions/orders",
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({"authorization"})


PACK: Final[Pack] = GooglePubSub()
