"""``config check``, ``config show`` and ``providers``: all problems, all sources, no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surehook.packs import PACKS
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
    assert verdict == "surehook.toml: 7 problems."
    for place in ("providers.strip", "providers.github", "destinations.ledger", "console.token", "app = "):
        assert any(place in problem for problem in problems), place
    assert surehook.json("config", "check") == {
        "ok": False,
        "problems": [problem.removeprefix("- ") for problem in problems],
        "warnings": [],
    }


def test_what_can_be_read_is_built_although_other_parts_cannot_be_read(
    surehook: CommandLine, folder: Path
) -> None:
    (folder / "surehook.toml").write_text(BAD.replace("[providers.github]", "[providers.github]\nenable = 1"))
    problems = surehook.json_of_failure("config", "check")["problems"]
    assert [problem.split()[0].rstrip(":") for problem in problems] == [
        "providers.github.enable",
        "providers.strip",
        "providers.strip",
        "destinations.ledger.url",
        "destinations.ledger.secrets",
        "console.token",
        "app",
    ]


def test_check_tells_every_bad_secret_and_header(
    surehook: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "whsec_x")
    monkeypatch.setenv("LINES", "a\nb: verysecret")
    (folder / "surehook.toml").write_text(
        "[providers.hooks]\npack = 'standard-webhooks'\nsecrets = ['env:NONE_A', 'env:SHORT', 'env:NONE_B']\n"
        "[destinations.ledger]\nurl = 'https://ledger.test/'\nsecrets = ['env:SHORT', 'env:NONE_C']\n"
        "[destinations.ledger.headers]\n'Bad Name' = 'x'\nwebhook-id = 'x'\nContent-Type = 'x'\n"
        "X-None = 'env:NONE_D'\nX-Lines = 'env:LINES'\nX-Part = 'Bearer env:SHORT'\nX-Good = 'fine'\n"
    )
    problems = surehook.json_of_failure("config", "check")["problems"]
    assert "verysecret" not in str(problems)
    wanted = [
        "env:NONE_A",
        "env:SHORT",
        "env:NONE_B",
        "env:SHORT",
        "env:NONE_C",
        "'Bad Name'",
        "'webhook-id'",
        "'Content-Type'",
        "'X-None': the environment variable of env:NONE_D",
        "'X-Lines': its value must be printable ASCII in one line",
        "'X-Part': a reference is the whole value",
    ]
    assert len(problems) == len(wanted), problems
    for part, problem in zip(wanted, problems, strict=True):
        assert part in problem


@pytest.mark.usefixtures("own_app")
def test_check_warns_of_what_is_probably_a_slip(surehook: CommandLine, folder: Path) -> None:
    (folder / "app.py").write_text(
        "from surehook import App\napp = App()\n@app.on('strip')\nasync def paid(event): pass\n"
    )
    (folder / "surehook.toml").write_text(
        "app = 'app:app'\n[providers.stripe]\nenabled = false\nsecrets = ['env:X']\n"
        "[destinations.ledger]\nurl = 'https://ledger.test/'\n"
    )
    result = surehook("config", "check")
    assert (result.exit_code, result.stdout) == (0, "surehook.toml: no problems.\n")
    handler, unsigned = result.stderr.splitlines()
    assert "warning: app.paid is for the provider 'strip'" in handler
    assert "Did you mean 'stripe'?" in handler
    assert "warning: destinations.ledger: its deliveries are not signed" in unsigned


@pytest.mark.usefixtures("own_app")
def test_check_finds_set_up_functions_that_cannot_be_called(surehook: CommandLine, folder: Path) -> None:
    (folder / "app.py").write_text(
        "from surehook import App\napp = App()\n\n@app.setup\nasync def tables(): pass\n"
    )
    (folder / "surehook.toml").write_text("app = 'app:app'")
    [problem] = surehook.json_of_failure("config", "check")["problems"]
    assert "app.py, line 4: @app.setup: tables must be" in problem


def test_a_secret_in_place_of_a_pack_is_not_repeated(surehook: CommandLine, folder: Path) -> None:
    (folder / "surehook.toml").write_text("[providers.acme]\npack = 'whsec_verysecret'")
    for command in (("config", "check"), ("config", "show"), ("providers", "list"), ("send", "acme")):
        result = surehook(*command)
        assert result.exit_code == 2
        assert "providers.acme.pack" in result.stderr
        assert "verysecret" not in result.output


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


def test_a_provider_is_shown_with_what_to_paste_where(surehook: CommandLine, folder: Path) -> None:
    (folder / "surehook.toml").write_text(
        "[server]\npublic_url = 'https://hooks.example.com/'\n[providers.stripe]\nsecrets = ['env:A']\n"
        "[providers.gh]\npack = 'github'\nsecrets = ['env:A']\n"
        "[providers.acme]\npack = 'hmac'\nsecrets = ['env:A']\nheader = 'X-A'\nid = 'body:/id'\n"
        "[providers.own]\npack = 'no:pack'\nsecrets = ['env:A']\n"
    )
    text = surehook("providers", "show", "stripe").stdout
    for part in (
        "https://hooks.example.com/webhooks/stripe; /TOPIC may be added",
        "the endpoint's signing secret (whsec_...)",
        "official library: tried against requests that the sender's own library has judged",
        "stripe-signature: HMAC-SHA256 over time and body",
        "The secret is used as it is pasted",
    ):
        assert part in text
    shown = surehook.json("providers", "show", "stripe")
    assert (shown["id_is_signed"], shown["tolerance_seconds"], shown["handshake"]) == (True, 300, "none")
    github = surehook.json("providers", "show", "gh")
    assert (github["id_is_signed"], github["tolerance_seconds"]) == (False, None)
    acme = surehook.json("providers", "show", "acme")
    assert (acme["id_is_signed"], acme["tolerance_seconds"], acme["id"]) == (True, None, "body:/id")
    assert "credential" not in surehook.json("providers", "show", "own")


def test_an_address_that_no_sender_can_reach_is_told(surehook: CommandLine, folder: Path) -> None:
    (folder / "surehook.toml").write_text("[providers.stripe]\nsecrets = ['env:A']\n")
    assert "set server.public_url" in surehook("providers", "show", "stripe").stdout


def test_the_packs_are_listed_in_every_form(surehook: CommandLine) -> None:
    found = {one["name"]: one for one in surehook.json("providers", "packs")}
    assert set(found) == set(PACKS)
    assert found["slack"]["handshake"] == "answers url_verification, signed"
    assert found["github"]["id"] == "header x-github-delivery, which is not signed"
    assert json.loads(surehook("providers", "packs", "--format", "json").stdout) == list(found.values())
    table = surehook("providers", "packs").stdout
    markdown = surehook("providers", "packs", "--format", "markdown").stdout
    for name in PACKS:
        assert f"\n{name} " in table
        assert f"\n| `{name}` | " in markdown


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
