"""``providers check``: captured requests, judged as ingest would judge them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from surehook.clock import Millis
from surehook.packs import PACKS
from tests.unit.cli.conftest import CommandLine

NOW = 1_790_000_000
SECRET = "whsec_captured"
BODY = b'{"id": "evt_7", "type": "invoice.paid", "created": 1790000000}\n'


@pytest.fixture(autouse=True)
def captured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request as a proxy would have dumped it, and a provider that knows its secret."""
    sent = PACKS["stripe"].sign(SECRET, BODY, Millis(NOW * 1000), external_id="evt_7", type="invoice.paid")
    lines = ["POST /webhooks/stripe/billing?a=1 HTTP/1.1", "Host: hooks.example"]
    lines += [f"{name.title()}: {value}" for name, value in sent.headers.items()]
    Path("headers").write_bytes("\r\n".join(lines).encode())
    Path("body").write_bytes(BODY)
    Path("surehook.toml").write_text('[providers.stripe]\nsecrets = ["env:RIGHT"]\n')
    monkeypatch.setenv("RIGHT", SECRET)
    monkeypatch.setenv("WRONG", "whsec_another")


ASKED = ("providers", "check", "--headers", "headers", "--body", "body", "--now", str(NOW + 1))


def test_an_authentic_request_shows_the_event_that_it_would_be(surehook: CommandLine) -> None:
    result = surehook(*ASKED, "stripe")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("accepted by env:RIGHT\n")
    assert "evt_7" in result.stdout
    told = surehook.json(*ASKED, "stripe")
    assert (told["verdict"], told["secret"]) == ("accepted", "env:RIGHT")
    [event] = told["events"]
    assert (event["external_id"], event["type"], event["weak"]) == ("evt_7", "invoice.paid", False)
    assert event["occurred_at"] == "2026-09-21T14:13:20.000Z"


def test_a_pack_needs_no_configuration(surehook: CommandLine) -> None:
    Path("surehook.toml").unlink()
    assert surehook(*ASKED, "--pack", "stripe", "--secret", "env:RIGHT").exit_code == 0
    both = surehook(*ASKED, "--pack", "stripe", "--secret", "env:WRONG", "--secret", "env:RIGHT")
    assert "accepted by env:RIGHT" in both.stdout


def test_a_refused_request_shows_what_was_signed(surehook: CommandLine) -> None:
    result = surehook(*ASKED, "stripe", "--secret", "env:WRONG")
    signed = b"%d." % NOW + BODY
    assert result.exit_code == 1
    first, second, third = result.stdout.splitlines()
    assert first == "refused: no live secret made a signature in stripe-signature"
    assert second == f"signed: {len(signed)} bytes, sha256 {hashlib.sha256(signed).hexdigest()}"
    assert third == f"{NOW}." + BODY.decode().replace("\n", "\\n")
    assert surehook.json(*ASKED, "stripe", "--secret", "env:WRONG")["signed"]["text"] == signed.decode()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--now", str(NOW + 400)), "the timestamp is more than 300 s away from now"),
        (("--now", str(NOW + 4), "--tolerance", "3"), "the timestamp is more than 3 s away from now"),
        (("--method", "get"), "GET is answered 405"),
        (("--headers", "nothing"), "the header stripe-signature is missing or empty"),
    ],
)
def test_the_step_that_failed_is_named(surehook: CommandLine, options: tuple[str, ...], told: str) -> None:
    Path("nothing").write_bytes(b"")
    result = surehook(*ASKED, "stripe", *options)
    assert result.exit_code == 1
    assert told in result.stdout
    assert "signed:" not in result.stdout


@pytest.mark.parametrize(
    ("body", "shown", "form"),
    [
        (b"x" * 3000, "x" * 1989, "text"),
        ("é\x1b[2J\n".encode(), "é\\x1b[2J\\n", "text"),
        (b"\xff\x00", "hex " + b"1790000000.\xff\x00".hex(), "hex"),
        (b"\xff" * 1500, "hex " + (b"1790000000." + b"\xff" * 989).hex(), "hex"),
    ],
)
def test_what_was_signed_is_cut_and_moves_no_cursor(
    surehook: CommandLine, body: bytes, shown: str, form: str
) -> None:
    Path("body").write_bytes(body)
    result = surehook(*ASKED, "stripe")
    assert result.stdout.splitlines()[2] == (shown if form == "hex" else f"{NOW}.{shown}")
    signed = refusal(surehook)["signed"]
    assert signed["length"] == len(body) + 11
    assert signed["whole"] == (len(body) < 1000)
    assert signed["sha256"] == hashlib.sha256(b"1790000000." + body).hexdigest()


def refusal(surehook: CommandLine) -> Any:
    result = surehook(*ASKED, "stripe", "--json")
    assert result.exit_code == 1
    return json.loads(result.stdout)


def test_a_secret_is_not_shown_even_where_it_is_signed(
    surehook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some senders sign their secret and the body; the digest of that would be the signature itself."""
    monkeypatch.setenv("WRONG", "invoice.paid")
    result = surehook(*ASKED, "stripe", "--secret", "env:WRONG")
    assert "invoice.paid" not in result.output
    assert '"type": "[secret]"' in result.stdout
    assert "sha256 not shown" in result.stdout


def test_the_body_may_follow_the_headers_in_one_file(surehook: CommandLine) -> None:
    Path("whole").write_bytes(Path("headers").read_bytes() + b"\r\n\r\n" + BODY)
    asked = ("providers", "check", "stripe", "--headers", "whole", "--now", str(NOW))
    assert surehook(*asked).exit_code == 0


def test_a_handshake_shows_its_answer(surehook: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    row = json.loads(
        (Path(__file__).parents[2] / "data/signatures/challenges.jsonl").read_text().splitlines()[0]
    )
    body = '{"type": "url_verification", "challenge": "c-1"}'
    monkeypatch.setenv("SLACK", row["secret"])
    sent = PACKS["slack"].sign(row["secret"], body.encode(), Millis(NOW * 1000), external_id="", type="")
    Path("headers").write_text("\n".join(f"{name}: {value}" for name, value in sent.headers.items()))
    Path("body").write_text(body)
    result = surehook(*ASKED, "--pack", "slack", "--secret", "env:SLACK")
    assert result.exit_code == 0
    assert "url_verification" in result.stdout
    assert "c-1" in result.stdout
    told = surehook.json(*ASKED, "--pack", "slack", "--secret", "env:SLACK")
    assert (told["verdict"], told["status"], told["body"]) == ("answered", 200, "c-1")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name a configured provider or, with --pack, a pack"),
        (("stripe", "--pack", "stripe"), 2, "one of them"),
        (("strpe",), 3, "Did you mean 'stripe'?"),
        (("--pack", "strpe"), 2, "Did you mean 'stripe'?"),
        (("--pack", "stripe"), 2, "verifies with a secret and none is given"),
        (("--pack", "stripe", "--secret", "env:UNSET_ONE"), 2, "is not set"),
        (("stripe", "--headers", "body"), 2, "line 1 of the headers is none"),
        (("stripe", "--vectors", "body"), 2, "--vectors says all there is to say"),
    ],
)
def test_what_cannot_be_asked(
    surehook: CommandLine, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = surehook("providers", "check", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_a_file_of_vectors_is_judged(surehook: CommandLine) -> None:
    data = Path(__file__).parents[2] / "data" / "signatures"
    lines = b"".join((data / f"{name}.jsonl").read_bytes() for name in ("stripe", "challenges", "aws-sns"))
    count = len(lines.splitlines())
    Path("rows.jsonl").write_bytes(lines)
    result = surehook("providers", "check", "--vectors", "rows.jsonl")
    assert (result.exit_code, result.stdout) == (0, f"{count} of {count} as expected\n")
    row = json.loads(lines.splitlines()[0])
    Path("rows.jsonl").write_bytes(lines + json.dumps(row | {"id": "x", "provider": "nobody"}).encode())
    result = surehook("providers", "check", "--vectors", "rows.jsonl")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"x: expected {row['expect']}, got error (there is no pack 'nobody')",
        f"{count} of {count + 1} as expected",
    ]
    told = json.loads(surehook("providers", "check", "--vectors", "rows.jsonl", "--json").stdout)
    assert (told["judged"], told["as_expected"], told["differing"][0]["id"]) == (count + 1, count, "x")
