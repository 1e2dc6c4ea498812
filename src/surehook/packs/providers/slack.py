"""Slack: events as JSON, slash commands and interactions as forms, and a challenge before the first event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import NOTHING, decode, form, is_form, scalar
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading


class _Typed(msgspec.Struct, frozen=True):
    type: Raw = NOTHING
    challenge: Raw = NOTHING


_TYPED = msgspec.json.Decoder(_Typed)


class SlackReader(JsonReader):
    """``event_id`` and the inner event's type; forms carry no id that outlives a retry."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        if is_form(request):
            into.type = _form_type(form(request.body))
            return None
        super().read(request, into)
        envelope = decode(_TYPED, request.body)
        kind = scalar(envelope.type)
        if kind == "url_verification" and (answer := scalar(envelope.challenge)):
            return Challenge(200, answer.encode(), kind=kind)
        if kind != "event_callback":
            into.type = kind
        return None


def _form_type(fields: dict[str, str]) -> str | None:
    """The slash command, or the type of an interaction, whose JSON stands in the field ``payload``."""
    if "payload" in fields:
        return scalar(decode(_TYPED, fields["payload"].encode()).type)
    return fields.get("command")


class Slack(SignedPack):
    """The signing secret is used as text although it looks like hex. The time in its header is signed."""

    name = "slack"
    summary = "Slack Events API, slash commands and interactions"
    docs_url = "https://docs.slack.dev/authentication/verifying-requests-from-slack/"
    certainty = "official library"
    credential = "the app's signing secret: Basic Information, App Credentials"
    layout = Layout(
        header="x-slack-signature",
        signed="v0:{timestamp}:{body}",
        timestamp_header="x-slack-request-timestamp",
    )
    prefix = "v0="
    handshake = "answers `url_verification`, signed"
    reads = Reads(
        id="body:/event_id", type=("body:/event/type", "body:/type"), occurred_at="body:/event_time"
    )
    sample_type = "app_mention"
    sample_body = {
        "team_id": "T0SAMPLE",
        "api_app_id": "A0SAMPLE",
        "event": {
            "type": "app_mention",
            "user": "U0SAMPLE",
            "text": "<@U0BOT> hello",
            "ts": "1790000000.000200",
            "channel": "C0SAMPLE",
        },
        "type": "event_callback",
        "event_id": "Ev0SAMPLE001",
        "event_time": 1_790_000_000,
    }

    def reader(self, settings: ProviderSettings) -> Reader:
        return SlackReader(self.reads)


PACK: Final[Pack] = Slack()
