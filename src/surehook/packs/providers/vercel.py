"""Vercel: one signature of the body, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Vercel(SignedPack):
    """The signature is HMAC-SHA1. An integration's webhooks are signed with its client secret, others with their own."""

    name = "vercel"
    summary = "Vercel webhooks of accounts and integrations"
    docs_url = "https://vercel.com/docs/webhooks/webhooks-api"
    certainty = "quoted formula"
    credential = "the webhook's secret, shown when it is made; of an integration its client secret"
    layout = Layout(header="x-vercel-signature")
    algorithm = "sha1"
    reads = Reads(
        id="body:/id",
        type="body:/type",
        occurred_at="body:/createdAt",
        subject=("body:/payload/deployment/id", "body:/payload/project/id"),
    )
    sample_type = "deployment.succeeded"
    sample_body = {
        "id": "uev_SampleSurehook000000001",
        "type": "deployment.succeeded",
        "createdAt": 1_790_000_000_000,
        "region": "sfo1",
        "payload": {
            "team": {"id": "team_SampleSurehook"},
            "user": {"id": "SampleUser"},
            "project": {"id": "prj_SampleSurehook"},
            "deployment": {
                "id": "dpl_SampleSurehook",
                "name": "sample-app",
                "url": "sample-app-1.vercel.app",
                "meta": {},
            },
            "target": "production",
        },
    }


PACK: Final[Pack] = Vercel()
