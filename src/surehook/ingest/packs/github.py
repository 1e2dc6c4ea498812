"""GitHub: the signature covers the body alone; id and type travel in headers beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from surehook.config import MIB, ProviderSettings
from surehook.ingest.packs.base import Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import NOTHING, decode, form, is_form, scalar, within
from surehook.ingest.signatures import HmacKey, Layout, Request, Scheme, SignatureScheme
from surehook.secrets import Secret

#: The SHA-1 header is not looked at: accepting it would be a downgrade.
LAYOUT = Layout(header="x-hub-signature-256")
DELIVERY = "x-github-delivery"
EVENT = "x-github-event"


class _Repository(msgspec.Struct, frozen=True):
    full_name: Raw = NOTHING


class _Event(msgspec.Struct, frozen=True):
    action: Raw = NOTHING
    repository: Raw = NOTHING


_EVENT = msgspec.json.Decoder(_Event)
_REPOSITORY = msgspec.json.Decoder(_Repository)


class GitHubReader(Reader):
    """The delivery's GUID, ``event.action``, and the repository as the subject."""

    def read(self, request: Request, into: Reading) -> Challenge | None:
        into.id = request.optional(DELIVERY)
        into.type = request.optional(EVENT)
        event = decode(_EVENT, _json(request))
        action = scalar(event.action)
        if into.type and action:
            into.type = f"{into.type}.{action}"
        repository = within(_REPOSITORY, event.repository)
        into.subject = scalar(repository.full_name) if repository else None
        return None


def _json(request: Request) -> bytes:
    if not is_form(request):
        return request.body
    fields = form(request.body)
    if "payload" not in fields:
        raise ValueError("the form has no field payload")
    return fields["payload"].encode()


class GitHub(Pack):
    """A redelivery keeps its GUID. GitHub does not retry by itself."""

    name = "github"
    summary = "GitHub webhooks of repositories, organisations and apps, as JSON or form"
    docs_url = "https://docs.github.com/en/webhooks"
    id_is_signed = False
    max_body = 25 * MIB
    sample_type = "issues.opened"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        return SignatureScheme(
            LAYOUT, [HmacKey(secret.reference, secret.encode(), prefix="sha256=") for secret in secrets]
        )

    def reader(self, settings: ProviderSettings) -> Reader:
        return GitHubReader()

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {EVENT: type.partition(".")[0], DELIVERY: external_id}

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        event, _, action = (type or self.sample_type).partition(".")
        body: dict[str, object] = {"action": action} if action else {}
        body[event.removesuffix("s")] = {"id": 1, "number": 7, "title": "The build is red"}
        body["repository"] = {"id": 2, "full_name": "octo-org/octo-repo"}
        body["sender"] = {"id": 3, "login": "octocat"}
        return msgspec.json.encode(body)
