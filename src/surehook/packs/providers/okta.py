"""Okta event hooks: a fixed value in a header, several events a request, and a GET before the first of them."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.handshakes import json_answer
from surehook.packs.pack import SECRET_HEADERS, Pack, Setup
from surehook.packs.places import Reads, header_name
from surehook.packs.request import BadSignature, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import TokenScheme
from surehook.packs.verdicts import Challenge

CHALLENGE: Final = "x-okta-verification-challenge"


class Okta(Pack):
    """The value proves who sends, not that the body is unchanged. It is compared as it is, a ``Bearer`` in it included.

    Okta's one-time verification is answered also without the value, since its documentation does not show one there; a
    wrong value is refused.
    """

    name = "okta"
    summary = "Okta event hooks; answers the one-time verification"
    docs_url = "https://developer.okta.com/docs/concepts/event-hooks/"
    certainty = "quoted formula"
    proof = "`authorization`, or the header that is set, equals a secret"
    credential = "the authentication secret: Workflow, Event Hooks, the hook"
    settings = frozenset({"header"})
    methods = frozenset({"GET", "POST"})
    items = "/data/events"
    item = Reads(
        id="body:/uuid", type="body:/eventType", subject="body:/actor/id", occurred_at="body:/published"
    )
    sample_type = "user.session.start"
    sample_body = {
        "eventType": "com.okta.event_hook",
        "eventTypeVersion": "1.0",
        "cloudEventsVersion": "0.1",
        "source": "https://sample.okta.com/api/v1/eventHooks/whosample0000000001",
        "eventId": "b5a188b9-5ece-4636-b041-482ffda96311",
        "data": {
            "events": [
                {
                    "uuid": "1f5bd5c4-95de-11f0-8f2c-9f4f5a6e1a5b",
                    "published": "2026-09-21T14:13:20.000Z",
                    "eventType": "user.session.start",
                    "version": "0",
                    "displayMessage": "User login to Okta",
                    "severity": "INFO",
                    "actor": {"id": "00usample00000000001", "type": "User", "displayName": "Ada"},
                    "target": [],
                }
            ]
        },
        "eventTime": "2026-09-21T14:13:21.000Z",
        "contentType": "application/json",
    }

    def scheme(self, setup: Setup) -> Scheme:
        return TokenScheme(_header(setup.settings), setup.secrets)

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if request.method != "GET":
            return None
        if request.body:
            raise BadSignature("a verification has no body")
        challenge = request.only(CHALLENGE)
        if request.header(_header(setup.settings)) is not None:
            self.scheme(setup).verify(request)
        return json_answer({"verification": challenge}, "one-time verification")

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS | {_header(settings)}

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({_header(settings)})


def _header(settings: ProviderSettings) -> str:
    return header_name("header", settings.header or "Authorization")


PACK: Final[Pack] = Okta()
