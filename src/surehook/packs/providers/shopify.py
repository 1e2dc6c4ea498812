"""Shopify webhooks: the signature covers the body alone; everything else travels in headers beside it.

Webhooks and the newer Events differ in the names of their headers. They are two packs so that headers of one family are
never taken for those of the other.
"""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Shopify(SignedPack):
    """A retry keeps its webhook id. The topic is the type, e.g. ``orders/create``.

    The external id is that of the delivery: the event's own id is the same for every subscription, so it would drop some.
    """

    name = "shopify"
    summary = "Shopify webhooks (headers X-Shopify-*)"
    docs_url = "https://shopify.dev/docs/apps/build/webhooks"
    certainty = "official library"
    credential = "the app's client secret: Partner Dashboard, the app, Client credentials"
    id_is_signed = False
    layout = Layout(header="x-shopify-hmac-sha256")
    encoding = "base64"
    reads = Reads(
        id="header:x-shopify-webhook-id",
        type="header:x-shopify-topic",
        occurred_at="header:x-shopify-triggered-at",
        subject=("header:x-shopify-resource-id", "body:/admin_graphql_api_id"),
    )
    sample_type = "orders/create"
    sample_body = {
        "id": 5751537599337,
        "admin_graphql_api_id": "gid://shopify/Order/5751537599337",
        "email": "buyer@example.com",
        "total_price": "79.00",
        "currency": "EUR",
        "line_items": [{"id": 99525888118, "title": "Copper lantern", "quantity": 1}],
        "created_at": "2026-09-22T15:15:01Z",
    }

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        shop = {"x-shopify-shop-domain": "sample.myshopify.com"}
        return super().headers(settings, external_id, type) | shop


PACK: Final[Pack] = Shopify()
