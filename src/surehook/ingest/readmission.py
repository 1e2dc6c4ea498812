"""What is stored, judged or read again: refused requests by the secrets of today, accepted ones by the packs of today."""

from __future__ import annotations

from collections.abc import Mapping

from surehook.errors import ConfigurationError
from surehook.ingest.intake import arrival_of
from surehook.model import Arrival, EventRow, Headers, Payload, Readmission, RejectionRow, Rereading
from surehook.packs import Challenge, Provider, Received, Refused, Request
from surehook.packs.keystore import KeysUnavailable
from surehook.packs.vectors import barred
from surehook.states import Reason

#: Providers by name, or why there is none of this name.
Providers = Mapping[str, Provider | ConfigurationError]


async def judge_again(row: RejectionRow, providers: Providers) -> Readmission | str:
    """What a refused request is to become, judged as of the moment at which it came; or why it still is refused."""
    refused = row.rejection
    if refused.reason is not Reason.BAD_SIGNATURE:
        return "it was authentic, and refused for its id: another body was stored under that before"
    if refused.body is None:
        return "it was not kept as it came (rejections.keep_bodies)"
    provider = _provider(refused.provider, providers)
    if isinstance(provider, str):
        return provider
    request = Request(
        provider=refused.provider,
        topic=refused.topic,
        method=refused.method,
        headers=refused.headers,
        body=refused.body,
        now=refused.received_at,
        query=refused.query,
    )
    try:
        verdict = barred(provider, request) or await provider.settle(request)
    except KeysUnavailable as error:
        return str(error)
    if isinstance(verdict, Refused):
        return verdict.detail
    if isinstance(verdict, Challenge):
        return f"it is authentic, but holds no event: {verdict.kind}"
    return Readmission(row.id, arrival_of(request, verdict, provider.id_is_signed))


def read_again(event: EventRow, payload: Payload | None, providers: Providers) -> Rereading | str:
    """What is read in an event's stored request now; or why nothing is."""
    if payload is None:
        return "its request is no longer kept"
    provider = _provider(payload.provider, providers)
    if isinstance(provider, str):
        return provider
    headers = _headers(payload)
    request = Request(payload.provider, payload.topic, "POST", headers, payload.body, payload.received_at)
    found = provider.reread(request)
    if not isinstance(found, Received):
        return f"it is read as {found.kind} now"
    return Rereading(event.id, Arrival(payload, found.events, provider.id_is_signed, event.traceparent))


def _headers(payload: Payload) -> Headers:
    """Those that were kept; what came in the query of a GET was stored as a form, and is read as one."""
    rest = [pair for pair in payload.headers if pair[0] != "content-type"]
    return (*rest, ("content-type", payload.content_type)) if payload.content_type else tuple(rest)


def _provider(name: str, providers: Providers) -> Provider | str:
    found = providers.get(name)
    if found is None:
        return f"no provider {name!r} is configured"
    return str(found) if isinstance(found, ConfigurationError) else found
