"""Mux: time and signatures in one header, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Mux(SignedPack):
    """Each webhook, and so each environment, has a signing secret of its own.

    Mux's own library takes any time of the future; here it may differ by the tolerance both ways.
    """

    name = "mux"
    summary = "Mux Video webhooks"
    docs_url = "https://www.mux.com/docs/core/verify-webhook-signatures"
    certainty = "official library"
    credential = "the webhook's signing secret: Settings, Webhooks, the webhook"
    layout = Layout(header="mux-signature", signed="{timestamp}.{body}", separator=",", timestamp_item="t=")
    prefix = "v1="
    reads = Reads(id="body:/id", type="body:/type", occurred_at="body:/created_at", subject="body:/object/id")
    sample_type = "video.asset.ready"
    sample_body = {
        "type": "video.asset.ready",
        "id": "3a56ac3d-33da-4366-855b-f592d898409d",
        "created_at": "2026-09-21T14:13:20.000000Z",
        "object": {"type": "asset", "id": "SampleAsset0000000001"},
        "environment": {"name": "Production", "id": "sample"},
        "request_id": None,
        "data": {
            "status": "ready",
            "id": "SampleAsset0000000001",
            "duration": 23.8,
            "aspect_ratio": "16:9",
            "playback_ids": [{"policy": "public", "id": "SamplePlayback00001"}],
        },
        "accessor": None,
        "accessor_source": None,
        "attempts": [],
    }


PACK: Final[Pack] = Mux()
