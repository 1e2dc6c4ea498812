"""Slack: events as JSON, slash commands and interactions as forms, and a challenge before the first event."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.ingest.packs.base import Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import NOTHING, decode, form, is_form, require_single, scalar, within
from surehook.ingest.signatures import TOLERANCE, HmacKey, Layout, Request, Scheme, SignatureScheme
from surehook.secrets import Secret

LAYOUT = Layout(
    header="x-slack-signature",
    signed="v0:{timestamp}:{body}",
    timestamp_header="x-slack-request-timestamp",
)


class _Typed(msgspec.Struct, frozen=True):
    type: Raw = NOTHING


class _Envelope(msgspec.Struct, frozen=True):
    type: Raw = NOTHING
    event_id: Raw = NOTHING
    event_time: Raw = NOTHING
    event: Raw = NOTHING
    challenge: Raw = NOTHING


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_TYPED = msgspec.json.Decoder(_Typed)


class SlackReader(Reader):
    """``event_id`` and the inner event's type; forms carry no id that outlives a retry."""

    def read(self, request: Request, into: Reading) -> Challenge | None:
        if is_form(request):
            into.type = _form_type(form(request.body))
            return None
        envelope = decode(_ENVELOPE, request.body)
        into.type = scalar(envelope.type)
        if into.type == "url_verification" and (answer := scalar(envelope.challenge)):
            return Challenge(200, answer.encode(), "text/plain; charset=utf-8")
        require_single(request.body, "event_id")
        into.id = scalar(envelope.event_id)
        into.occurred_at = scalar(envelope.event_time)
        if into.type == "event_callback":
            event = within(_TYPED, envelope.event)
            into.type = (scalar(event.type) if event else None) or into.type
        return None


def _form_type(fields: dict[str, str]) -> str | None:
    """The slash command, or the type of an interaction, whose JSON stands in the field ``payload``."""
    if "payload" in fields:
        return scalar(decode(_TYPED, fields["payload"].encode()).type)
    return fields.get("command")


class Slack(Pack):
    """The signing secret is used as text although it looks like hex. The time in its header is signed."""

    name = "slack"
    summary = "Slack Events API, slash commands and interactions"
    docs_url = "https://docs.slack.dev/authentication/verifying-requests-from-slack/"
    settings = frozenset({"tolerance"})
    sample_type = "app_mention"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        keys = [HmacKey(secret.reference, secret.encode(), prefix="v0=") for secret in secrets]
        return SignatureScheme(LAYOUT, keys, settings.tolerance or TOLERANCE)

    def reader(self, settings: ProviderSettings) -> Reader:
        return SlackReader()

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return msgspec.json.encode(
            {
                "team_id": "T0SAMPLE",
                "api_app_id": "A0SAMPLE",
                "event": {
                    "type": type or self.sample_type,
                    "user": "U0SAMPLE",
                    "text": "<@U0BOT> hello",
                    "ts": "1790000000.000200",
                    "channel": "C0SAMPLE",
                },
                "type": "event_callback",
                "event_id": external_id or "Ev0SAMPLE001",
                "event_time": 1_790_000_000,
            }
        )
