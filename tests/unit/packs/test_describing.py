"""Packs in words: what follows from what a pack declares."""

from __future__ import annotations

from surehook.config import ProviderSettings
from surehook.packs import MILLISECONDS, Joined, Layout, Pack, Reads, Scheme, Setup, SignedPack
from surehook.packs.describing import about, describe, markdown_table, tolerance_of
from surehook.packs.request import Request
from surehook.packs.schemes.shared import NoScheme
from surehook.packs.verdicts import Challenge


class Batches(SignedPack):
    """Sends many events at once | twice.

    And this is for nobody but developers.
    """

    name = "batches"
    summary = "a sender | of batches"
    docs_url = "https://docs.example/hooks"
    layout = Layout(
        header="x-sig", signed="{method}{url}{body}{timestamp}", timestamp_header="x-time", unit=MILLISECONDS
    )
    algorithm = "sha1"
    encoding = "base64"
    tolerance = 60
    signs_url = True
    methods = frozenset({"POST", "GET"})
    items = "/events"
    item = Reads(id="body:/id", type=Joined(("body:/resource", "header:x-action")))
    reads = Reads(id="body:/delivery", type="body:/type", subject="body:/who")
    sample_type = "x"


class Greeting(Pack):
    """Greets."""

    name = "greeting"
    summary = "a sender"
    docs_url = "https://docs.example/hooks"
    bodies_repeat = True
    sample_type = "x"

    def scheme(self, setup: Setup) -> Scheme:
        return NoScheme()

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        return None


def test_what_a_layout_says() -> None:
    told = describe(Batches())
    assert told.proof == "`x-sig`: HMAC-SHA1 over method, address, body and time (milliseconds), base64"
    assert told.id == "`/id` of each event"
    assert told.type == "`/resource` `.` header `x-action`"
    assert told.handshake == "none; GET too"


def test_what_is_not_there_is_said_too() -> None:
    told = describe(Greeting())
    assert told.proof == "a scheme of its own"
    assert told.id == "none: each delivery is an event"
    assert told.type == "the topic, else the provider's name"
    assert told.handshake == "an unsigned POST is answered"


def test_the_table_survives_any_words() -> None:
    head, rule, row = markdown_table([describe(Batches())]).splitlines()
    cells = row.replace("\\|", "").count("|")
    assert head.count("|") == rule.count("|") == cells
    assert "[docs.example](https://docs.example/hooks)" in row


def test_the_first_paragraph_is_for_users() -> None:
    assert about(Batches()) == "Sends many events at once | twice."


def test_the_tolerance_is_that_of_settings_or_pack_or_everybody() -> None:
    assert tolerance_of(Batches(), ProviderSettings()) == 60
    assert tolerance_of(Batches(), ProviderSettings(tolerance=5)) == 5
    assert tolerance_of(Greeting(), ProviderSettings()) is None
