"""``surehook providers``: who may send, and where to."""

from __future__ import annotations

from typing import Any

import click

from surehook.cli.check import check
from surehook.cli.options import global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.cli.tables import print_pairs, print_table
from surehook.config import Loaded, Settings, show
from surehook.config.addresses import provider_url
from surehook.errors import NotFound, did_you_mean
from surehook.packs import PACKS


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
    """One provider: its URL, its settings and where its documentation is."""
    options = options_of(ctx)
    loaded = options.load()
    if name not in loaded.settings.providers:
        raise NotFound(f"no provider {name!r} is configured. {did_you_mean(name, loaded.settings.providers)}")
    found = {**_summary(loaded.settings, name), **_pack(loaded.settings, name), **_settings(loaded, name)}
    if as_json:
        print_json(found)
        return
    pairs = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in found.items()]
    print_pairs(pairs, colour=options.colour)


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
    pack = PACKS.get(settings.providers[name].pack or name)
    return {"summary": pack.summary, "documentation": pack.docs_url} if pack else {}


def _settings(loaded: Loaded, name: str) -> dict[str, Any]:
    place = f"providers.{name}."
    shown = {one.place.removeprefix(place): one.value for one in show(loaded) if one.place.startswith(place)}
    return {
        key: value
        for key, value in shown.items()
        if value is not None and key not in {"pack", "enabled", "secrets"}
    }
