"""``surehook providers``: who may send, and where to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from surehook.cli.check import check
from surehook.cli.options import global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.cli.tables import print_pairs, print_table
from surehook.config import Loaded, Settings, show
from surehook.config.addresses import provider_url
from surehook.errors import ConfigurationError, NotFound, did_you_mean
from surehook.packs import PACKS, pack_named
from surehook.packs.describing import (
    CERTAINTY,
    about,
    describe,
    describe_all,
    markdown_table,
    plain,
    tolerance_of,
)


@click.group()
def providers() -> None:
    """Look at the configured providers, and try out what they make of a request."""


providers.add_command(check)


@providers.command("list")
@json_option
@global_options()
@click.pass_context
def list_providers(ctx: click.Context, as_json: bool) -> None:
    """Every configured provider with its URL."""
    options = options_of(ctx)
    settings = options.load().settings
    found = [_summary(settings, name) for name in settings.providers]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "pack", "enabled", "url", "secrets"),
        [
            (
                one["name"],
                one["pack"],
                "yes" if one["enabled"] else "no",
                one["url"],
                ", ".join(one["secrets"]),
            )
            for one in found
        ],
        colour=options.colour,
        empty=f"No providers. Packs that a [providers.NAME] table can use: {', '.join(PACKS)}.",
    )


@providers.command("show")
@click.argument("name")
@json_option
@global_options()
@click.pass_context
def show_provider(ctx: click.Context, name: str, as_json: bool) -> None:
    """One provider: what to paste where, what is verified and how sure that is, its settings."""
    options = options_of(ctx)
    loaded = options.load()
    if name not in loaded.settings.providers:
        raise NotFound(f"no provider {name!r} is configured. {did_you_mean(name, loaded.settings.providers)}")
    found = {**_summary(loaded.settings, name), **_pack(loaded.settings, name), **_settings(loaded, name)}
    if as_json:
        print_json(found)
        return
    print_pairs([("paste there", _paste(loaded.settings, found)), *_pairs(found)], colour=options.colour)


@providers.command("packs")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="How to print them.",
)
@json_option
@global_options()
@click.pass_context
def list_packs(ctx: click.Context, form: str, as_json: bool) -> None:
    """Every pack: how it verifies, where id and type stand, and how sure that is."""
    found = describe_all()
    if as_json or form == "json":
        print_json([plain(one) for one in found])
    elif form == "markdown":
        click.echo(markdown_table(found), nl=False)
    else:
        print_table(
            ("name", "sender", "proof", "id", "type", "handshake", "certainty", "documentation"),
            [msgspec.structs.astuple(plain(one)) for one in found],
            colour=options_of(ctx).colour,
            empty="",
            spare=("documentation", "type", "handshake", "id"),
        )


def _pairs(found: Mapping[str, Any]) -> Sequence[tuple[str, object]]:
    """For people: no underscores, yes and no."""
    return [(key.replace("_", " "), _text(value)) for key, value in found.items()]


def _text(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value


def _summary(settings: Settings, name: str) -> dict[str, Any]:
    provider = settings.providers[name]
    return {
        "name": name,
        "pack": provider.pack or name,
        "enabled": provider.enabled,
        "url": provider_url(settings, name),
        "secrets": list(provider.secrets),
    }


def _pack(settings: Settings, name: str) -> dict[str, Any]:
    """What its pack says of it; nothing where there is no such pack, which ``config check`` tells."""
    own = settings.providers[name]
    try:
        pack = pack_named(own.pack or name)
        signed = pack.covers_id(own)
    except ConfigurationError:
        return {}
    words = plain(describe(pack))
    return {
        "summary": words.summary,
        "documentation": words.documentation,
        "credential": pack.credential,
        "certainty": f"{pack.certainty}: {CERTAINTY[pack.certainty]}",
        "proof": words.proof,
        "external_id": words.id,
        "id_is_signed": signed,
        "handshake": words.handshake,
        "tolerance_seconds": tolerance_of(pack, own),
        "about": about(pack),
    }


def _paste(settings: Settings, found: Mapping[str, Any]) -> str:
    """What to do with the address in the sender's pages."""
    own = settings.server.public_url or settings.providers[found["name"]].url
    doubt = "" if own else " (reached from this machine only: set server.public_url)"
    return f"{found['url']}{doubt}; /TOPIC may be added"


def _settings(loaded: Loaded, name: str) -> dict[str, Any]:
    place = f"providers.{name}."
    shown = {one.place.removeprefix(place): one.value for one in show(loaded) if one.place.startswith(place)}
    return {
        key: value
        for key, value in shown.items()
        if value is not None and key not in {"pack", "enabled", "secrets"}
    }
