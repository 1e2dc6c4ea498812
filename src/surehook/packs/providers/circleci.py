"""CircleCI: one signature for each version of its scheme; only the first version is known."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class CircleCI(SignedPack):
    """Only webhooks that were given a secret token are signed. Versions beside ``v1`` are not looked at."""

    name = "circleci"
    summary = "CircleCI outbound webhooks"
    docs_url = "https://circleci.com/docs/outbound-webhooks/"
    certainty = "official example"
    credential = "the webhook's secret token: Project Settings, Webhooks, the webhook"
    layout = Layout(header="circleci-signature", separator=",")
    prefix = "v1="
    reads = Reads(
        id="body:/id",
        type=("body:/type", "header:circleci-event-type"),
        occurred_at="body:/happened_at",
        subject="body:/pipeline/id",
    )
    sample_type = "workflow-completed"
    sample_body = {
        "id": "3888f21b-eaa7-38e3-8f3d-75a63bba8895",
        "type": "workflow-completed",
        "happened_at": "2026-09-21T14:13:20.000Z",
        "webhook": {"id": "cf8c4fdd-0587-4da1-b4ca-4846e9640af9", "name": "Sample"},
        "project": {
            "id": "84996744-a854-4f5e-aea3-04e2851dc1d2",
            "name": "sample-repo",
            "slug": "github/sample-org/sample-repo",
        },
        "organization": {"id": "f22b6566-597d-46d5-ba74-99ef5bb3d85c", "name": "sample-org"},
        "workflow": {"id": "fda08377-fe7e-46b1-8992-3a7aaecac9c3", "name": "build", "status": "success"},
        "pipeline": {"id": "1285fe1d-d3a6-44fc-8886-8979558254c4", "number": 130},
    }


PACK: Final[Pack] = CircleCI()
