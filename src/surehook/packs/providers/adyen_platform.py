"""Adyen for Platforms, Balance Platform and Management: one signature of the body in a header."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack, hex_key
from surehook.secrets import Secret


class AdyenPlatform(SignedPack):
    """The key is the hex text decoded. Payment webhooks, whose signatures stand in the body, are another kind: not these.

    Events have no id: the digest of the body stands for it.
    """

    name = "adyen-platform"
    summary = "Adyen platform, banking and management webhooks"
    docs_url = "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures"
    certainty = "official library"
    credential = "the webhook's HMAC key: Developers, Webhooks, the webhook, Security, HMAC Key, Generate"
    layout = Layout(header="hmacsignature")
    encoding = "base64"
    reads = Reads(
        type="body:/type",
        occurred_at=("body:/timestamp", "body:/createdAt"),
        subject=("body:/data/accountHolder/id", "body:/data/balanceAccount/id", "body:/data/id"),
    )
    sample_type = "balancePlatform.accountHolder.updated"
    sample_body = {
        "data": {
            "balancePlatform": "SamplePlatform",
            "accountHolder": {"id": "AH00000000000000000000001", "status": "active"},
        },
        "environment": "test",
        "type": "balancePlatform.accountHolder.updated",
        "timestamp": "2026-09-21T14:13:20.000Z",
    }

    def key_bytes(self, secret: Secret) -> bytes:
        return hex_key(secret)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"protocol": "HmacSHA256"}


PACK: Final[Pack] = AdyenPlatform()
