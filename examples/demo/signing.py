"""Signs requests as the providers do, from their documentation and with nothing of Surehook: an independent check."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One webhook, ready to be sent."""

    provider: str
    headers: Mapping[str, str]
    body: bytes


def github(secret: str, event: str, delivery: str, body: bytes) -> Request:
    """``X-Hub-Signature-256`` is the hex HMAC-SHA256 of the body alone; the delivery's id is not covered by it."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return Request("github", headers, body)


def stripe(secret: str, at: int, body: bytes) -> Request:
    """``Stripe-Signature`` signs ``<unix seconds>.<body>``; the secret is used as it is written, ``whsec_`` included."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": f"t={at},v1={digest}",
    }
    return Request("stripe", headers, body)


def shopify(secret: str, topic: str, delivery: str, body: bytes) -> Request:
    """``X-Shopify-Hmac-Sha256`` is the base64 HMAC-SHA256 of the body alone."""
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": digest,
        "X-Shopify-Shop-Domain": "fjord-tea.myshopify.com",
        "X-Shopify-API-Version": "2026-07",
        "X-Shopify-Webhook-Id": delivery,
        "X-Shopify-Event-Id": f"event-of-{delivery}",
        "X-Shopify-Triggered-At": "2026-09-21T12:20:00.000000000Z",
    }
    return Request("shopify", headers, body)
