"""Webhooks as three kinds of provider send them, signed by code of the tests' own."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import msgspec

from surehook.clock import SystemClock
from tests.scenario.checker import Expected

#: What the scenarios' providers sign with, by the name of the environment variable that holds it.
SECRETS = {
    "ACME_SECRET": "acme-secret-of-the-scenarios",
    "STRIPE_SECRET": "whsec_stripe-secret-of-the-scenarios",
    "GITHUB_SECRET": "github-secret-of-the-scenarios",
}

#: The same providers as an installation is configured for them.
PROVIDERS: dict[str, dict[str, Any]] = {
    "acme": {
        "pack": "hmac",
        "header": "X-Acme-Signature",
        "secrets": ["env:ACME_SECRET"],
        "id": "body:/id",
        "type": "body:/event",
    },
    "stripe": {"secrets": ["env:STRIPE_SECRET"]},
    "github": {"secrets": ["env:GITHUB_SECRET"]},
}

#: What the application leaves behind for each type of event that it can finish.
EXPECTED = {
    "order.paid": Expected(),
    "order.packed": Expected(),
    "order.seen": Expected(effects=0),
    "order.filed": Expected(effects=0),
    "order.held": Expected(),
    "order.held_in_thread": Expected(),
    "order.pondered": Expected(),
    "order.slow": Expected(),
    "order.slow_in_thread": Expected(),
    "order.failing": Expected(),
    "order.broken": Expected(),
    "order.sleeping": Expected(effects=0, messages=0),
    "order.blocking": Expected(effects=0, messages=0),
    "invoice.paid": Expected(),
    "push": Expected(),
}


class Webhook(msgspec.Struct, frozen=True):
    """One event of a provider, which may send it any number of times."""

    provider: str
    external_id: str
    body: bytes

    def headers(self) -> dict[str, str]:
        """The headers of one try, signed now."""
        own = {"acme": _acme, "stripe": _stripe, "github": _github}[self.provider]
        return {"Content-Type": "application/json", **own(self)}


def order(id: str, event: str = "order.paid", **data: Any) -> Webhook:
    """An event of ``acme``, a provider without a pack of its own."""
    return Webhook("acme", id, _json({"id": id, "event": event, **data}))


def invoice(id: str) -> Webhook:
    """An event of Stripe."""
    data = {"object": {"id": f"in_{id}", "object": "invoice", "amount_paid": 4200}}
    return Webhook(
        "stripe", id, _json({"id": id, "object": "event", "type": "invoice.paid", "created": 1, "data": data})
    )


def push(id: str) -> Webhook:
    """An event of GitHub, which carries its id in a header."""
    return Webhook("github", id, _json({"ref": "refs/heads/main", "after": id, "commits": []}))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _sign(secret: str, signed: bytes) -> str:
    return hmac.new(SECRETS[secret].encode(), signed, hashlib.sha256).hexdigest()


def _acme(webhook: Webhook) -> dict[str, str]:
    return {"X-Acme-Signature": _sign("ACME_SECRET", webhook.body)}


def _stripe(webhook: Webhook) -> dict[str, str]:
    timestamp = str(SystemClock().now() // 1000)
    signature = _sign("STRIPE_SECRET", timestamp.encode() + b"." + webhook.body)
    return {"Stripe-Signature": f"t={timestamp},v1={signature}"}


def _github(webhook: Webhook) -> dict[str, str]:
    return {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": webhook.external_id,
        "X-Hub-Signature-256": f"sha256={_sign('GITHUB_SECRET', webhook.body)}",
    }
