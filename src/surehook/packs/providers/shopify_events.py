"""Shopify Events: as webhooks, with other headers."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class ShopifyEvents(SignedPack):
    """The topic alone is the type, e.g. ``products``; the action stands in the header ``shopify-action``."""

    name = "shopify-events"
    summary = "Shopify Events (headers shopify-*, 2026)"
    docs_url = "https://shopify.dev/docs/apps/build/events"
    certainty = "official library"
    credential = "the app's client secret: Partner Dashboard, the app, Client credentials"
    id_is_signed = False
    layout = Layout(header="shopify-hmac-sha256")
    encoding = "base64"
    reads = Reads(
        id="header:shopify-webhook-id",
        type="header:shopify-topic",
        occurred_at="header:shopify-triggered-at",
        subject=("header:shopify-resource-id", "body:/admin_graphql_api_id"),
    )
    sample_type = "products"
    sample_body = {
        "id": 9676020616066,
        "fields_changed": ["title"],
        "query_variables": {},
        "data": {"product": {"id": "gid://shopify/Product/9676020616066", "title": "Copper lantern"}},
    }

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        shop = {"shopify-shop-domain": "sample.myshopify.com", "shopify-action": "update"}
        return super().headers(settings, external_id, type) | shop


PACK: Final[Pack] = ShopifyEvents()
