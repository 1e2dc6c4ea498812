"""``surehook providers check``: what Surehook makes of a captured request, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import click
import msgspec
from msgspec.structs import replace

from surehook.cli.captured import Remembering, parse_dump, signed_of, verdict_json
from surehook.cli.options import FAILED, Options, global_options, json_option, options_of
from surehook.cli.output import moment, print_json
from surehook.cli.tables import print_pairs, print_table
from surehook.clock import Millis, SystemClock
from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import NotFound, did_you_mean
from surehook.model import NewEvent
from surehook.packs import Challenge, Provider, Received, Refused, Request, build_provider
from surehook.packs.vectors import Judgement, judge, read_rows, verdict_on
from surehook.packs.verdicts import Settled
from surehook.secrets import resolve
from surehook.telemetry import printable
from surehook.wiring.keys import key_fetcher


class Question(msgspec.Struct, frozen=True):
    """Who is to judge which request: what was said on the command line."""

    name: str | None
    pack: str | None
    secret: tuple[str, ...]
    headers: BinaryIO | None
    body: BinaryIO | None
    method: str | None
    query: str | None
    topic: str | None
    now: float | None
    url: str | None
    tolerance: int | None


@click.command()
@click.argument("name", required=False)
@click.option("--pack", help="A pack, instead of a configured provider; give its secrets with --secret.")
@click.option(
    "--secret",
    multiple=True,
    metavar="REF",
    help="env:NAME or file:PATH, instead of the configured ones; may be repeated.",
)
@click.option(
    "--headers", type=click.File("rb"), metavar="FILE", help="The headers as Name: value lines, as in a dump."
)
@click.option("--body", type=click.File("rb"), metavar="FILE", help="The body's exact bytes.")
@click.option("--method", help="The method, where the dump has no request line and it is not POST.")
@click.option("--query", help="What stood behind the ? of the address.")
@click.option("--topic", help="The second part of the URL.")
@click.option("--now", type=float, metavar="UNIX", help="When it was received, instead of now.")
@click.option("--url", help="The address that the sender posts to, for those who sign it.")
@click.option(
    "--tolerance", type=click.IntRange(1), metavar="SECONDS", help="By how much a signed time may differ."
)
@click.option(
    "--vectors", type=click.File("rb"), metavar="FILE", help="Judge a file of requests with known verdicts."
)
@json_option
@global_options()
@click.pass_context
def check(ctx: click.Context, /, vectors: BinaryIO | None, as_json: bool, **asked: Any) -> None:
    """Judge a captured request as ingest would, and tell which step failed and what was signed.

    NAME is a configured provider. Nothing is stored and nothing is sent. Ends with 1 when it is refused; with --vectors,
    when a verdict is not the expected one.
    """
    question = Question(**asked)
    if vectors is not None:
        if any(asked.values()):
            raise click.UsageError("--vectors says all there is to say: it goes with --json alone.")
        _judge_file(ctx, vectors, as_json)
    secrets = Remembering(resolve)
    provider = _provider(options_of(ctx), question, secrets)
    verdict = verdict_on(provider, _request(provider, question))
    if as_json:
        print_json(verdict_json(verdict, secrets))
    else:
        _print(verdict, secrets, colour=options_of(ctx).colour)
    refused = isinstance(verdict, Refused) or (isinstance(verdict, Challenge) and verdict.status >= 400)
    ctx.exit(FAILED if refused else 0)


def _judge_file(ctx: click.Context, file: BinaryIO, as_json: bool) -> None:
    now = SystemClock().now()
    judged = [judge(row, now) for row in read_rows(file)]
    differing = [each for each in judged if not each.agrees]
    if as_json:
        print_json(
            {"judged": len(judged), "as_expected": len(judged) - len(differing), "differing": differing}
        )
    else:
        for each in differing:
            click.echo(printable(_line(each)))
        click.echo(f"{len(judged) - len(differing)} of {len(judged)} as expected")
    ctx.exit(FAILED if differing else 0)


def _line(judged: Judgement) -> str:
    detail = f" ({judged.detail})" if judged.detail else ""
    return f"{judged.id}: expected {judged.expected}, got {judged.got}{detail}"


def _provider(options: Options, asked: Question, secrets: Remembering) -> Provider:
    """The provider that is asked for. Raises NotFound and ConfigurationError."""
    if (asked.name is None) == (asked.pack is None):
        raise click.UsageError("name a configured provider or, with --pack, a pack: one of them.")
    given: dict[str, Any] = {"secrets": asked.secret, "url": asked.url, "tolerance": asked.tolerance}
    chosen = {field: value for field, value in given.items() if value}
    if asked.pack is not None:
        name = asked.pack.rpartition(":")[2].lower()
        return build_provider(
            name, ProviderSettings(pack=asked.pack, **chosen), secrets, _server(asked), key_fetcher()
        )
    settings = options.load().settings
    if asked.name not in settings.providers:
        raise NotFound(
            f"no provider {asked.name!r} is configured. {did_you_mean(str(asked.name), settings.providers)}"
        )
    configured = replace(settings.providers[asked.name], enabled=True, **chosen)
    return build_provider(asked.name, configured, secrets, settings.server, key_fetcher())


def _server(asked: Question) -> ServerSettings:
    """A pack that signs its address and was told none says so itself."""
    return ServerSettings(public_url=asked.url)


def _request(provider: Provider, asked: Question) -> Request:
    dump = parse_dump(asked.headers.read() if asked.headers else b"")
    body = dump.body if asked.body is None else asked.body.read()
    now = SystemClock().now() if asked.now is None else Millis(round(asked.now * 1000))
    return Request(
        provider=provider.name,
        topic=asked.topic or dump.topic or "",
        method=(asked.method or dump.method or "POST").upper(),
        headers=dump.headers,
        body=body or b"",
        now=now,
        query=dump.query or "" if asked.query is None else asked.query.removeprefix("?"),
    )


def _print(verdict: Settled, secrets: Remembering, *, colour: bool) -> None:
    if isinstance(verdict, Received):
        _print_events(verdict, colour=colour)
        return
    told = verdict_json(verdict, secrets)
    if isinstance(verdict, Challenge):
        pairs = [(name, told.get(name)) for name in ("kind", "status", "content_type", "body", "body_base64")]
        click.echo("answered, and nothing is stored:")
        print_pairs([*pairs, *verdict.headers], colour=colour)
        return
    click.echo(f"refused: {printable(told['detail'])}")
    signed = signed_of(verdict, secrets)
    if signed is not None:
        digest = signed.sha256 or "not shown, since a secret is part of it"
        cut = "" if signed.whole else ", of which the beginning follows"
        click.echo(f"signed: {signed.length} bytes, sha256 {digest}{cut}")
        click.echo(printable(signed.text if signed.text is not None else f"hex {signed.hex}"))


def _print_events(verdict: Received, *, colour: bool) -> None:
    by = f" by {verdict.secret}" if verdict.secret else " without any proof: this pack verifies nothing"
    click.echo(f"accepted{by}")
    print_table(
        ("external id", "type", "subject", "occurred", "part", "state"),
        [_event_line(event) for event in verdict.events],
        colour=colour,
        empty="",
        spare=("occurred", "part", "subject"),
    )


def _event_line(event: NewEvent) -> Sequence[object]:
    weak = " (made up: it has none)" if event.weak else ""
    state = f"{event.dead}: {event.error}" if event.dead else "RECEIVED"
    return (
        event.external_id + weak,
        event.type,
        event.subject,
        moment(event.occurred_at),
        event.part,
        state,
    )
