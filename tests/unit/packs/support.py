"""Requests and providers for the tests of signatures and packs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from tests.unit.packs.key_pairs import OTHER_RSA_PEM, RSA_PEM, ed25519_hex, p256_pem

from surehook.clock import Millis
from surehook.config import ProviderSettings, ServerSettings
from surehook.model import Headers, NewEvent
from surehook.packs import PACKS, Delivery, Draft, Fetch, Provider, Received, Refused, Request, build_provider
from surehook.secrets import Secret

NOW = Millis(1_790_000_000_000)

#: Of 256 bits that no strategy can guess.
SECRET: Final = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()
#: Secrets that can sign, of packs for which ``SECRET`` is none, and others of the same form.
SECRETS: Final[Mapping[str, str]] = {
    "adyen": "44" * 32,
    "aws-sns": "arn:aws:sns:eu-west-1:123456789012:orders",
    "basic": f"user:{SECRET}",
    "airtable": SECRET.removeprefix("whsec_"),
    "adyen-platform": bytes(range(100, 132)).hex(),
    "discord": ed25519_hex(1),
    "paddle-classic": RSA_PEM,
    "postmark": f"user:{SECRET}",
    "sendgrid": p256_pem(1),
    "wise": RSA_PEM,
}
OTHERS: Final[Mapping[str, str]] = {
    "adyen-platform": bytes(range(101, 133)).hex(),
    "adyen": "55" * 32,
    "aws-sns": "arn:aws:sns:eu-west-1:123456789012:others",
    "discord": ed25519_hex(2),
    "gitlab": "whsec_" + base64.b64encode(bytes(range(200, 232))).decode(),
    "paddle-classic": OTHER_RSA_PEM,
    "sendgrid": p256_pem(2),
    "wise": OTHER_RSA_PEM,
}
#: Keys of packs that fetch theirs, pinned in tests so that they can sign too, and others of the same form.
PINNED: Final[Mapping[str, str]] = {
    "aws-sns": RSA_PEM,
    "google-pubsub": RSA_PEM,
    "paypal": RSA_PEM,
    "plaid": p256_pem(1),
}
OTHER_PINNED: Final[Mapping[str, str]] = {
    **dict.fromkeys(PINNED, OTHER_RSA_PEM),
    "plaid": p256_pem(2),
}
#: What is live beside it in hostile tests, so that more ways are open.
ALSO_LIVE: Final[Mapping[str, Sequence[str]]] = {
    "gitlab": [SECRET.removeprefix("whsec_")],
    "standard-webhooks": ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="],
}
#: Where things stand in the body that the sender's proof does not cover.
BODY_IS_NOT_SIGNED: Final = frozenset(
    {"basic", "cloudevents", "google-pubsub", "monday", "msgraph", "okta", "postmark", "token"}
)
#: Whose types follow from more than a sample can be given.
TYPE_IS_FIXED: Final = frozenset({"shopify", "shopify-events", "aws-sns"})
#: Whose events have no id: the digest of what was sent stands for it.
WITHOUT_ID: Final[frozenset[str]] = frozenset(
    {
        "adyen-platform",
        "airtable",
        "asana",
        "braintree",
        "buildkite",
        "calendly",
        "discord",
        "docusign",
        "dropbox",
        "lemonsqueezy",
        "mollie-classic",
        "plaid",
        "postmark",
        "xero",
        "zoom",
    }
)
#: Whose events have no type: the topic stands for it, or else the provider's name.
WITHOUT_TYPE: Final = frozenset({"airtable", "dropbox", "mollie-classic"})
#: Whose body holds a signature that covers nothing else in it: how it is found.
PROOF_OF_NOTHING: Final[Mapping[str, bytes]] = {"mailgun": rb'"signature":"[0-9a-f]{64}"'}
#: Whose ids are put together from several things, the first of which is the one that is given.
ID_IS_JOINED: Final = frozenset({"adyen"})
#: Whose secret proves nothing to us: with it we prove to the sender who asks for its keys.
SECRET_ASKS_FOR_KEYS: Final = frozenset({"plaid"})
#: Whose secret only says whom or what to believe, and stands in what is received.
SECRET_IS_PUBLIC: Final = frozenset({"aws-sns"})
#: Whose signature stands inside the body, among what it covers: a body without it is not authentic, and what it does not
#: cover, or can be written in several ways, may change.
SIGNED_INSIDE: Final = frozenset({"adyen", "aws-sns", "braintree", "mailgun", "paddle-classic"})
#: Whose signatures differ from one time to the next.
SIGNS_AT_RANDOM: Final = frozenset({"plaid", "sendgrid"})
#: What shows who or when stands inside the body: one that cannot be read is not authentic.
PROOF_INSIDE: Final = frozenset({"linear", "msgraph"})
#: Whose handshake is a POST without signature and query: tests of its own show that nothing else is answered.
ANSWERS_ANYONE: Final = frozenset({"monday"})
VERIFYING: Final = sorted(name for name, pack in PACKS.items() if pack.needs_secrets)


def headers(values: Mapping[str, str]) -> Headers:
    """Headers as the server hands them over."""
    return tuple((name.lower(), value) for name, value in values.items())


def request(
    body: bytes = b"{}", values: Mapping[str, str] | Headers = (), *, topic: str = "", now: int = NOW
) -> Request:
    """A request to a provider."""
    given = headers(values) if isinstance(values, Mapping) else values
    return Request("acme", topic, "POST", given, body, Millis(now))


def provider(
    pack: str,
    *values: str,
    name: str = "acme",
    fetch: Fetch | None = None,
    pinned: str | None = None,
    **settings: Any,
) -> Provider:
    """A provider of this pack; its live secrets are ``values``, named env:S0, env:S1, ...

    ``pinned``: what its setting ``keys`` leads to.
    """
    names = {f"env:S{number}": value for number, value in enumerate(values)}
    keys = {} if pinned is None else {"env:KEYS": pinned}
    chosen = ProviderSettings(pack=pack, secrets=tuple(names), **({**settings, "keys": tuple(keys)}))
    known = names | keys
    return build_provider(name, chosen, lambda name: Secret(known[name], name), ServerSettings(), fetch)


def received(one: Provider, asked: Request) -> Received:
    """The verdict on a request that must be authentic."""
    verdict = one.receive(asked)
    assert isinstance(verdict, Received), verdict
    return verdict


def event(one: Provider, asked: Request) -> NewEvent:
    """The only event of a request that must be authentic."""
    [only] = received(one, asked).events
    return only


def refusal(one: Provider, asked: Request) -> str:
    """Why a request is refused, which it must be."""
    verdict = one.receive(asked)
    assert isinstance(verdict, Refused), verdict
    return verdict.detail


def secret_of(pack: str) -> str:
    """A secret of this pack that can sign."""
    return SECRETS.get(pack, SECRET)


def other_secret_of(pack: str) -> str:
    """Another one of the same form."""
    return OTHERS.get(pack, secret_of(pack)[:-4] + "QQQQ")


def example(pack: str, name: str = "acme") -> Provider:
    """A provider with the pack's own example settings, and everything live that it may have."""
    secrets = [secret_of(pack), *ALSO_LIVE.get(pack, ())] if PACKS[pack].needs_secrets else []
    return provider(pack, *secrets, name=name, pinned=PINNED.get(pack), **example_settings(pack))


def example_settings(pack: str) -> dict[str, Any]:
    """The pack's own example settings, less its keys."""
    return {name: getattr(PACKS[pack].example, name) for name in PACKS[pack].settings - {"keys"}}


def delivery(pack: str, body: bytes, type: str = "thing.done", *, external_id: str = "e-1") -> Delivery:
    """What the sender would send now."""
    if pack in PINNED:
        return _signer(pack).sign(Draft(body, NOW, external_id, type))
    return PACKS[pack].sign(secret_of(pack), body, NOW, external_id=external_id, type=type)


_signer = cache(example)


def forged(pack: str, body: bytes, type: str) -> Sequence[Delivery]:
    """What somebody would send who knows everything but the secret, and everything but the key where there are both."""
    draft, settings = Draft(body, NOW, "e-1", type), example_settings(pack)
    others = []
    if pack not in SECRET_ASKS_FOR_KEYS:
        others.append(provider(pack, other_secret_of(pack), pinned=PINNED.get(pack), **settings))
    if pack in PINNED:
        others.append(provider(pack, secret_of(pack), pinned=OTHER_PINNED[pack], **settings))
    return [other.sign(draft) for other in others]


def posted(sent: Delivery, **extra: str) -> Request:
    """The request that a delivery becomes."""
    pairs = headers({**sent.headers, **extra})
    return Request("acme", "", sent.method, pairs, sent.body, NOW, sent.query)
