"""GitHub: the signature covers the body alone; the id and the event's name travel in headers beside it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from surehook.config import MIB, ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import form, is_form
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Reader

EVENT: Final = "x-github-event"
DELIVERY: Final = "x-github-delivery"


class GitHubReader(JsonReader):
    """The JSON may stand in the field ``payload`` of a form."""

    def body(self, request: Request) -> bytes:
        if not is_form(request):
            return request.body
        fields = form(request.body)
        if "payload" not in fields:
            raise ValueError("the form has no field payload")
        return fields["payload"].encode()


class GitHub(SignedPack):
    """A redelivery keeps its GUID. GitHub does not retry by itself."""

    name = "github"
    summary = "GitHub webhooks of repositories, organisations and apps, as JSON or form"
    docs_url = "https://docs.github.com/en/webhooks"
    certainty = "official library"
    credential = "the webhook's secret: Settings, Webhooks, the webhook"
    id_is_signed = False
    max_body = 25 * MIB
    layout = Layout(header="x-hub-signature-256")
    prefix = "sha256="
    reads = Reads(
        id=f"header:{DELIVERY}",
        type=Joined((f"header:{EVENT}", "body:/action")),
        subject="body:/repository/full_name",
    )
    sample_type = "issues.opened"

    def reader(self, settings: ProviderSettings) -> Reader:
        return GitHubReader(self.reads)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {EVENT: type.partition(".")[0], DELIVERY: external_id}

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        event, _, action = (type or self.sample_type).partition(".")
        body: dict[str, Any] = {"action": action} if action else {}
        body[event.removesuffix("s")] = {"id": 1, "number": 7, "title": "The build is red"}
        body["repository"] = {"id": 2, "full_name": "octo-org/octo-repo"}
        body["sender"] = {"id": 3, "login": "octocat"}
        return msgspec.json.encode(body)


PACK: Final[Pack] = GitHub()
