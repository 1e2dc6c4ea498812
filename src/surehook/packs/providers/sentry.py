"""Sentry's integration platform: the signature covers the body alone; the id and the resource travel beside it."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Sentry(SignedPack):
    """The types are resource and action, e.g. ``issue.created``. The id, the resource and the time are not signed.

    Webhooks of the old plugin of that name are not signed at all: make an internal integration instead.
    """

    name = "sentry"
    summary = "Sentry webhooks of internal and public integrations"
    docs_url = "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/"
    certainty = "official formula"
    credential = "the integration's client secret: Settings, Custom Integrations, the integration"
    id_is_signed = False
    layout = Layout(header="sentry-hook-signature")
    reads = Reads(
        id="header:request-id",
        type=Joined(("header:sentry-hook-resource", "body:/action")),
        occurred_at="header:sentry-hook-timestamp",
        subject=(
            "body:/data/issue/id",
            "body:/data/issue_id",
            "body:/data/event/issue_id",
            "body:/data/error/issue_id",
            "body:/data/metric_alert/id",
        ),
    )
    sample_type = "issue.created"
    sample_body = {
        "action": "created",
        "installation": {"uuid": "24b264c3-1fe6-4edf-bfb3-7b1e8d3b5f6a"},
        "data": {
            "issue": {
                "id": "1170820242",
                "shortId": "SAMPLE-1",
                "title": "ReferenceError: blooopy is not defined",
                "project": {"id": "1", "slug": "sample", "name": "Sample"},
                "status": "unresolved",
            }
        },
        "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
    }


PACK: Final[Pack] = Sentry()
