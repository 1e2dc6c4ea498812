"""``surehook send``: webhooks as a provider would send them, signed with the configured secret."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

import aiohttp
import click
import msgspec
from msgspec.structs import replace
from yarl import URL

from surehook.cli.forging import altered, distinct, forged, stale
from surehook.cli.options import FAILED, global_options, json_option, options_of
from surehook.cli.output import print_json, with_progress
from surehook.cli.tables import print_table
from surehook.clock import Millis, SystemClock
from surehook.config import Settings
from surehook.config.addresses import base_url
from surehook.errors import ConfigurationError, InvalidRequest, NotFound, Unavailable, did_you_mean
from surehook.packs import (
    Delivery,
    Draft,
    Pack,
    Provider,
    Received,
    Refused,
    build_provider,
    pack_named,
)
from surehook.packs import Request as Posted
from surehook.packs.describing import tolerance_of
from surehook.packs.reading import FAULTS
from surehook.packs.vectors import verdict_on
from surehook.packs.verdicts import Settled
from surehook.retry import DAY
from surehook.secrets import Secret, resolve

#: Requests under way at once.
CONCURRENCY: Final = 20
#: Seconds until an answer must be there.
TIMEOUT: Final = 30
#: Answers that are shown one by one; more are counted.
MOST_LINES: Final = 20


class Order(msgspec.Struct, frozen=True):
    """What to send."""

    type: str | None
    topic: str | None
    body: bytes | None
    count: int
    duplicate: bool
    forge: bool
    stale: bool
    id: str | None


class Request(msgspec.Struct, frozen=True):
    """One request, ready to be posted."""

    url: str
    external_id: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


class Answer(msgspec.Struct, frozen=True):
    """What the server said to a request."""

    external_id: str
    status: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the event is stored."""
        return 200 <= self.status < 300


@click.command()
@click.argument("provider", required=False)
@click.option("--type", help="The event's type, instead of the pack's sample.")
@click.option("--topic", help="The second part of the URL.")
@click.option(
    "--body", type=click.File("rb"), metavar="FILE", help='The body, instead of a sample; "-" is stdin.'
)
@click.option("--id", help="The provider's id of the event, instead of a random one. Not with --count.")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many events."
)
@click.option("--duplicate", is_flag=True, help="Send each twice.")
@click.option("--forge", is_flag=True, help="Forge what proves where it comes from: it must be refused.")
@click.option("--stale", is_flag=True, help="Sign with a time long ago: it must be refused.")
@click.option("--url", help="The base address of the server, instead of the configured one.")
@json_option
@global_options()
@click.pass_context
def send(
    ctx: click.Context,
    /,
    provider: str | None,
    body: BinaryIO | None,
    url: str | None,
    as_json: bool,
    **order: Any,
) -> None:
    """Send signed test webhooks of PROVIDER (the first one that is configured) to the running server.

    Ends with 1 when one was not accepted; with --forge or --stale, when one was.
    """
    options = options_of(ctx)
    settings = options.load().settings
    wanted = Order(body=body.read() if body else None, **order)
    if wanted.id is not None and wanted.count > 1:
        raise click.UsageError("--id names one event: it does not go with --count.")
    sender = _sender(settings, provider or _first(settings), forge=wanted.forge)
    base = _checked(url) if url is not None else _configured(settings)
    requests = prepare(sender, wanted, base)
    answers: list[Answer] = with_progress(
        "sending", len(requests), lambda advance: asyncio.run(post_all(requests, wanted.duplicate, advance))
    )
    if as_json:
        print_json([_answer_json(answer) for answer in answers])
    else:
        _print_answers(answers, colour=options.colour)
    must_refuse = wanted.forge or wanted.stale
    if not must_refuse:
        _print_hint(answers, base)
    ctx.exit(FAILED if any(answer.accepted is must_refuse for answer in answers) else 0)


def _checked(url: str) -> str:
    """A base address. It may have a path, that under which an application has mounted Surehook."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        fits = False
    if not fits or "webhooks" in parts.path.split("/") or parts.query or parts.fragment:
        raise click.BadParameter(
            f"{url!r} is not the base address of a server, such as http://127.0.0.1:8080: it begins with http:// or "
            "https://, and /webhooks/PROVIDER is added to it.",
            param_hint="'--url'",
        )
    return url.rstrip("/")


def _configured(settings: Settings) -> str:
    server = settings.server
    if not server.port:
        raise click.UsageError(
            "server.port is 0, so the server took any free port: name its address with --url. The line "
            "'surehook is ready' of its log tells it."
        )
    return base_url(server.host, server.port)


def _first(settings: Settings) -> str:
    for name, provider in settings.providers.items():
        if provider.enabled:
            return name
    raise NotFound("no provider is configured. Add a table [providers.NAME] to surehook.toml.")


class Sender(msgspec.Struct, frozen=True):
    """Who sends, and who forges: with secrets of the same form that differ in one character, where there can be such."""

    provider: Provider
    pack: Pack
    forger: Provider | None = None
    #: Milliseconds after which everything that it has signed is stale.
    age: int = DAY


def _sender(settings: Settings, name: str, *, forge: bool) -> Sender:
    if name not in settings.providers:
        raise NotFound(f"no provider {name!r} is configured. {did_you_mean(name, settings.providers)}")
    own = settings.providers[name]
    provider, pack = build_provider(name, own, resolve, settings.server), pack_named(own.pack or name)
    age = DAY + 1000 * (tolerance_of(pack, own) or 0)
    if not forge:
        return Sender(provider, pack, None, age)
    if not pack.needs_secrets:
        raise InvalidRequest(f"{name} verifies nothing, so nothing can be forged.")
    try:
        return Sender(provider, pack, build_provider(name, own, _wrong, settings.server), age)
    except ConfigurationError:  # a certificate, say, is none when a character of it is another one
        return Sender(provider, pack, None, age)


def _wrong(reference: str) -> Secret:
    return Secret(altered(resolve(reference).reveal()), reference)


def prepare(sender: Sender, order: Order, base: str) -> list[Request]:
    """The requests, signed now or, stale, long ago. Raises InvalidRequest when they cannot be signed."""
    _require_key(sender)
    return [_request(sender, order, base) for _ in range(order.count)]


def _require_key(sender: Sender) -> None:
    """Raise InvalidRequest where there is nothing to sign with: many senders hand out the public half of their key only."""
    body, now = sender.provider.sample(), SystemClock().now()
    if not sender.provider.enabled:
        raise InvalidRequest(
            f"the provider {sender.provider.name} is disabled: the server takes nothing of it."
        )
    try:
        sender.provider.sign(Draft(body, now, "test_1", sender.pack.sample_type))
    except InvalidRequest as error:
        raise InvalidRequest(
            f"no test webhooks can be signed for {sender.provider.name}: {error}. The sender alone has its private key. For "
            "development, make a key pair of your own and configure its private key as the secret; never in production."
        ) from error


def _request(sender: Sender, order: Order, base: str) -> Request:
    provider, now = sender.provider, SystemClock().now()
    external_id = order.id or f"test_{secrets.token_hex(8)}"
    body = order.body if order.body is not None else _sample(sender, order.type, external_id)
    draft = Draft(body, now, external_id, order.type or sender.pack.sample_type, order.topic or "")
    try:
        sent = _delivery(sender, draft, order)
    except FAULTS as fault:  # a signature that stands in the body has no place in this one
        raise InvalidRequest(f"this body cannot be signed for {provider.name}: {fault}.") from fault
    url = "/".join([base, "webhooks", provider.name, *([order.topic] if order.topic else [])])
    target = f"{url}?{sent.query}" if sent.query else url
    verdict = _verdict(provider, draft, sent)
    received = verdict.events[0].external_id if isinstance(verdict, Received) else external_id
    return Request(target, received, sent.body, sent.headers, sent.method)


def _delivery(sender: Sender, draft: Draft, order: Order) -> Delivery:
    """What is sent: as the sender would, or such that it must be refused."""

    def refuses(sent: Delivery) -> bool:
        return isinstance(_verdict(sender.provider, draft, sent), Refused)

    if order.stale:
        draft = replace(draft, now=Millis(draft.now - sender.age))
        sent = stale(sender.provider, draft, refuses)
        return sent if not order.forge else forged(sender.provider, sender.forger, draft, refuses)
    return (
        forged(sender.provider, sender.forger, draft, refuses) if order.forge else sender.provider.sign(draft)
    )


def _verdict(provider: Provider, draft: Draft, sent: Delivery) -> Settled:
    """What the server will make of it now."""
    pairs = tuple((name.lower(), value) for name, value in sent.headers.items())
    now = SystemClock().now()
    return verdict_on(
        provider, Posted(provider.name, draft.topic, sent.method, pairs, sent.body, now, sent.query)
    )


def _sample(sender: Sender, type: str | None, external_id: str) -> bytes:
    body = sender.provider.sample(type, external_id=external_id)
    return distinct(body, external_id, sender.pack.items)


async def post_all(
    requests: Sequence[Request], duplicate: bool, advance: Callable[[int], None]
) -> list[Answer]:
    """The answers, in order; of a duplicate both. Raises Unavailable when nobody answers."""
    free = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:

        async def post(request: Request) -> list[Answer]:
            async with free:
                answers = [await _post(session, request) for _ in range(2 if duplicate else 1)]
            advance(1)
            return answers

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(post(request)) for request in requests]
        except ExceptionGroup as errors:
            # the first speaks for all; not except*, out of which Python 3.11.2 raises another group
            raise errors.exceptions[0] from None
    return [answer for task in tasks for answer in task.result()]


async def _post(session: aiohttp.ClientSession, request: Request) -> Answer:
    try:
        # as it is: what is quoted anew is no longer what was signed
        target = URL(request.url, encoded=True)
        async with session.request(
            request.method, target, data=request.body, headers=request.headers
        ) as answer:
            return Answer(request.external_id, answer.status, await answer.text(errors="replace"))
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        raise Unavailable(f"{request.url}: {why}. Does `surehook run` run?") from error


def _events(answer: Answer) -> list[dict[str, Any]]:
    """The events in Surehook's own answer; none where a provider's own answer replaces it."""
    try:
        return list(msgspec.json.decode(answer.text)["events"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return []


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "external_id": answer.external_id,
        "status": answer.status,
        "accepted": answer.accepted,
        "events": _events(answer),
        "answer": answer.text,
    }


def _print_answers(answers: Sequence[Answer], *, colour: bool) -> None:
    if len(answers) <= MOST_LINES:
        rows = [(answer.status, *_told(answer), answer.external_id) for answer in answers]
        print_table(("status", "result", "event or reason", "external id"), rows, colour=colour, empty="")
        return
    kinds = [(answer.status, _told(answer)[0]) for answer in answers]
    counted = [(*kind, kinds.count(kind)) for kind in sorted(set(kinds))]
    print_table(("status", "result", "count"), counted, colour=colour, empty="")


def _print_hint(answers: Sequence[Answer], base: str) -> None:
    """What to look at first when the server refuses what is well made."""
    statuses = {answer.status for answer in answers}
    hints = {
        401: "does it know this secret, and was it started again after the secret changed?",
        404: "does it know this provider? --url is the base address, to which /webhooks/PROVIDER is added.",
    }
    for status in sorted(statuses & hints.keys()):
        click.echo(f"{status}: is {base} the server of this configuration, and {hints[status]}", err=True)


def _told(answer: Answer) -> tuple[str, str]:
    """In a word what became of it, and the event's id or the server's explanation."""
    events = _events(answer)
    ids = ", ".join(str(event.get("id")) for event in events)
    if not answer.accepted:
        return "refused", _explanation(answer)
    return "duplicate" if events and all(event.get("duplicate") for event in events) else "accepted", ids


def _explanation(answer: Answer) -> str:
    """What a problem document (RFC 9457) says, or the beginning of any other answer."""
    try:
        problem = msgspec.json.decode(answer.text)
        return str(problem.get("detail") or problem["title"])
    except (msgspec.DecodeError, AttributeError, KeyError):
        return answer.text[:200]
