"""``config check``, ``config show`` and ``providers``: all problems, all sources, no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine

GOOD = """
[providers.stripe]
secrets = ["env:STRIPE_SECRET"]
[providers.shop]
pack = "shopify"
enabled = false
secrets = ["file:shop.secret"]
"""
BAD = """
app = "nothing_here:app"
[console]
token = "env:NO_TOKEN"
[providers.strip]
secrets = ["env:NO_SECRET"]
[providers.github]
secrets = ["env:NO_SECRET"]
[destinations.ledger]
url = "http://10.0.0.1/"
secrets = ["file:none"]
"""


def test_check_tells_every_problem_of_every_part(surehook: CommandLine, folder: Path) -> None:
    (folder / "surehook.toml").write_text(BAD)
    result = surehook("config", "check")
    assert result.exit_code == 2
    assert result.stdout == ""
    *problems, verdict = result.stderr.splitlines()
    assert verdict == "surehook.toml: 6 problems."
    for place in ("providers.strip", "providers.github", "destinations.ledger", "console.token", "app = "):
        assert any(place in problem for problem in problems), place
    assert surehook.json("config", "check") == {
        "ok": False,
        "problems": [problem.removeprefix("- ") for problem in problems],
    }


def test_check_tells_what_cannot_be_read_before_what_cannot_be_built(
    surehook: CommandLine, folder: Path
) -> None:
    (folder / "surehook.toml").write_text(BAD + "\n[serve]\nport = 1\n[handlers]\ntimeout = 3\n")
    result = surehook("config", "check")
    assert [line.split()[1] for line in result.stderr.splitlines()[:-1]] == ["serve", "handlers.timeout"]


def test_show_names_the_source_of_every_value(
    surehook: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "surehook.toml").write_text(GOOD)
    monkeypatch.setenv("SUREHOOK_SERVER__PORT", "9")
    monkeypatch.setenv("STRIPE_SECRET", "verysecret")
    shown = {one["place"]: one for one in surehook.json("config", "show", "--database", "sqlite:///x.db")}
    assert shown["server.port"] == {"place": "server.port", "value": 9, "source": "SUREHOOK_SERVER__PORT"}
    assert shown["database"]["source"] == "a flag"
    assert shown["providers.stripe.secrets"]["value"] == ["env:STRIPE_SECRET"]
    assert shown["handlers.timeout"] == {"place": "handlers.timeout", "value": "30s", "source": "default"}
    table = surehook("config", "show").stdout
    assert "verysecret" not in table
    assert all(place in table for place in shown)


def test_providers(surehook: CommandLine, folder: Path) -> None:
    (folder / "surehook.toml").write_text(GOOD)
    stripe, shop = surehook.json("providers", "list")
    assert stripe == {
        "name": "stripe",
        "pack": "stripe",
        "enabled": True,
        "url": "http://127.0.0.1:8080/webhooks/stripe",
        "secrets": ["env:STRIPE_SECRET"],
    }
    assert (shop["pack"], shop["enabled"]) == ("shopify", False)
    assert "shopify" in surehook("providers", "list").stdout
    shown = surehook.json("providers", "show", "stripe")
    assert shown.items() >= stripe.items()
    assert shown["documentation"].startswith("https://")
    missing = surehook("providers", "show", "strip")
    assert missing.exit_code == 3
    assert "Did you mean 'stripe'?" in missing.stderr


def test_no_providers_lists_the_packs(surehook: CommandLine) -> None:
    assert "standard-webhooks" in surehook("providers", "list").stdout
    assert json.loads(surehook("providers", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("hooks.test", "http://hooks.test:8080"),
    ],
)
def test_urls_can_be_reached_from_here(surehook: CommandLine, folder: Path, host: str, url: str) -> None:
    (folder / "surehook.toml").write_text(f"{GOOD}\n[server]\nhost = '{host}'")
    assert surehook.json("providers", "list")[0]["url"] == f"{url}/webhooks/stripe"
