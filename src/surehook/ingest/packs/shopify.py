"""Shopify: the signature covers the body alone; everything else travels in headers beside it.

Webhooks and the newer Events differ in the names of their headers and in nothing that matters here. They are two packs
so that headers of one family are never taken for those of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.ingest.packs.base import Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import NOTHING, decode, scalar
from surehook.ingest.signatures import HmacKey, Layout, Request, Scheme, SignatureScheme
from surehook.secrets import Secret


class _Body(msgspec.Struct, frozen=True):
    admin_graphql_api_id: Raw = NOTHING


_BODY = msgspec.json.Decoder(_Body)


class ShopifyReader(Reader):
    """The id of the delivery: the event's own id is the same for every subscription, so it would drop deliveries."""

    def __init__(self, family: str) -> None:
        self._family = family

    def read(self, request: Request, into: Reading) -> Challenge | None:
        into.id = request.optional(f"{self._family}-webhook-id")
        into.type = request.optional(f"{self._family}-topic")
        into.occurred_at = request.optional(f"{self._family}-triggered-at")
        into.subject = request.optional(f"{self._family}-resource-id")
        body = decode(_BODY, request.body)
        into.subject = into.subject or scalar(body.admin_graphql_api_id)
        return None


class Shopify(Pack):
    """A retry keeps its webhook id. The topic is the type, e.g. ``orders/create``."""

    name = "shopify"
    summary = "Shopify webhooks (headers X-Shopify-*)"
    docs_url = "https://shopify.dev/docs/apps/build/webhooks"
    id_is_signed = False
    sample_type = "orders/create"
    family = "x-shopify"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        keys = [HmacKey(secret.reference, secret.encode(), encoding="base64") for secret in secrets]
        return SignatureScheme(Layout(header=f"{self.family}-hmac-sha256"), keys)

    def reader(self, settings: ProviderSettings) -> Reader:
        return ShopifyReader(self.family)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {
            f"{self.family}-topic": type,
            f"{self.family}-webhook-id": external_id,
            f"{self.family}-shop-domain": "sample.myshopify.com",
        }

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return msgspec.json.encode(
            {
                "id": 5751537599337,
                "admin_graphql_api_id": "gid://shopify/Order/5751537599337",
                "email": "buyer@example.com",
                "total_price": "79.00",
                "currency": "EUR",
                "line_items": [{"id": 99525888118, "title": "Copper lantern", "quantity": 1}],
                "created_at": "2026-09-22T15:15:01Z",
            }
        )


class ShopifyEvents(Shopify):
    """The topic alone is the type, e.g. ``products``; the action stands in the header ``shopify-action``."""

    name = "shopify-events"
    summary = "Shopify Events (headers shopify-*, 2026)"
    docs_url = "https://shopify.dev/docs/apps/build/events"
    sample_type = "products"
    family = "shopify"

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {**super().headers(settings, external_id, type), "shopify-action": "update"}

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        product = {"id": "gid://shopify/Product/9676020616066", "title": "Copper lantern"}
        return msgspec.json.encode(
            {
                "id": 9676020616066,
                "fields_changed": ["title"],
                "query_variables": {},
                "data": {"product": product},
            }
        )
