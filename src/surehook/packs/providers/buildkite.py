"""Buildkite: signed, or with a plain token, as the webhook's settings say."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import SECRET_HEADERS, Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.choice import ByHeader
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.shared import TokenScheme
from surehook.packs.signed import SignedPack

TOKEN: Final = "x-buildkite-token"  # noqa: S105 - the header's name


class Buildkite(SignedPack):
    """Choose to send a signature: a plain token proves who sends, but not that the body is unchanged, nor when it was sent.

    Events have no id: the digest of the body stands for it.
    """

    name = "buildkite"
    summary = "Buildkite webhooks, signed or with a token"
    docs_url = "https://buildkite.com/docs/apis/webhooks/pipelines"
    certainty = "official formula"
    proof = "`x-buildkite-signature`: HMAC-SHA256 over time and body, hex; or `x-buildkite-token`, which equals a secret"
    credential = "the webhook's token: Settings, Notification Services, the webhook"
    layout = Layout(
        header="x-buildkite-signature",
        signed="{timestamp}.{body}",
        separator=",",
        timestamp_item="timestamp=",
    )
    prefix = "signature="
    reads = Reads(
        type=("body:/event", "header:x-buildkite-event"),
        occurred_at=("body:/build/finished_at", "body:/build/started_at", "body:/build/created_at"),
        subject=("body:/build/id", "body:/agent/id"),
    )
    sample_type = "build.finished"
    sample_body = {
        "event": "build.finished",
        "build": {
            "id": "f62a1b4d-10f9-4790-bc1c-e2c3a0c80983",
            "number": 27,
            "state": "passed",
            "branch": "main",
            "finished_at": "2026-09-21T14:13:20.000Z",
        },
        "pipeline": {"id": "88d73553-5533-4f56-9c16-fb38d7817d8f", "slug": "sample-pipeline"},
        "organization": {"id": "4b5a1c0e-3e4f-4f2b-9d9e-1c0b5f9a8e77", "slug": "sample-org"},
        "sender": {"id": "8a7693f8-dbae-4783-9137-84090fce9045", "name": "Ada Lovelace"},
    }

    def scheme(self, setup: Setup) -> Scheme:
        return ByHeader(
            [(self.layout.header, super().scheme(setup)), (TOKEN, TokenScheme(TOKEN, setup.secrets))]
        )

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"x-buildkite-event": type}

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS | {TOKEN}


PACK: Final[Pack] = Buildkite()
