"""What the settings name: the application, the headers of destinations, what is warned of."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from surehook.clock import SystemClock
from surehook.config import DestinationSettings, ProviderSettings, Settings
from surehook.errors import ConfigurationError
from surehook.handlers import Registry
from surehook.publish import Delivered
from surehook.wiring import build_headers, build_route, load_app, warnings_of
from tests.contract.receivers import receiving
from tests.contract.test_transport import claim

NUMBERS = itertools.count()
APP = "from surehook import App\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "NAME.py has no attribute 'app'. There is no App in it: write app = surehook.App()"),
        (APP + "ap = App()", "NAME.py has no attribute 'app'. Did you mean 'ap'?"),
        (APP + "hooks = App()", "NAME.py has no attribute 'app'. Known: hooks."),
        (APP + "app = 7", "is a int, not a surehook.App. There is no App in it"),
        (APP + "hooks = App()\ndef app(): pass", "is a function, not a surehook.App. Known: hooks."),
        (
            "\nimport nowhere_to_be_found",
            "NAME.py, line 2: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("def f():\n    1 / 0\n\nf()", "NAME.py, line 2: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')", "NAME.py, line 2: JSONDecodeError"),
        ("\n\na mistake", "NAME.py, line 3: SyntaxError"),
        ("raise SystemExit('bye')", "NAME.py, line 1: SystemExit: bye"),
        (
            APP + "app = App()\n@app.on('x', timeout='soon')\nasync def f(event): pass",
            "NAME.py, line 3: @app.on",
        ),
    ],
)
def test_an_application_that_cannot_be_loaded_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, complaint: str
) -> None:
    name = f"broken_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_app(Settings(app=f"{name}:app"))
    assert str(caught.value).startswith(f"app = '{name}:app'")
    assert complaint.replace("NAME", name) in str(caught.value)


def test_a_module_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "handlers_of_mine.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_app(Settings(app="handler_of_mine:app"))
    assert "there is no module 'handler_of_mine' in the working directory" in str(caught.value)
    assert "Did you mean 'handlers_of_mine'?" in str(caught.value)


async def test_header_references_are_resolved_for_deliveries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("Bearer verysecret\n")
    monkeypatch.setenv("TENANT", "7")
    headers = {"Authorization": f"file:{tmp_path / 'token'}", "X-Tenant": "env:TENANT", "X-Plain": "a: b"}
    async with receiving() as receiver:
        settings = DestinationSettings(url=receiver.url, allow_private=True, headers=headers)
        route = build_route("ledger", settings, SystemClock())
        assert await route.transport.send([claim()]) == [Delivered()]
        await route.transport.close()
    [request] = receiver.requests
    assert request.header("authorization") == "Bearer verysecret"
    assert (request.header("x-tenant"), request.header("x-plain")) == ("7", "a: b")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("env:NOT_THERE", "the environment variable of env:NOT_THERE is not set"),
        ("file:not/there", "cannot be read"),
        ("env:TWO_LINES", "its value must be printable ASCII in one line"),
        ("two\r\nlines", "its value must be printable ASCII in one line"),
        ("Bearer env:TWO_LINES", "a reference is the whole value"),
    ],
)
def test_a_header_that_cannot_be_sent_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, complaint: str
) -> None:
    monkeypatch.setenv("TWO_LINES", "verysecret\nx: y")
    with pytest.raises(ConfigurationError) as caught:
        build_headers("ledger", {"X-Token": value})
    assert str(caught.value).startswith("destinations.ledger.headers.'X-Token': ")
    assert complaint in str(caught.value)
    assert "verysecret" not in str(caught.value)


def test_warnings() -> None:
    registry = Registry()

    @registry.on("strip", "invoice.paid")
    async def paid(event: object) -> None: ...

    @registry.on("*")
    async def anything(event: object) -> None: ...

    settings = Settings(
        providers={"stripe": ProviderSettings()},
        destinations={
            "signed": DestinationSettings(url="https://a.test", secrets=("env:A",)),
            "open": DestinationSettings(url="https://b.test"),
        },
    )
    handler, unsigned = warnings_of(settings, registry)
    assert "is for the provider 'strip', which is not configured. Did you mean 'stripe'?" in handler
    assert unsigned.startswith("destinations.open: its deliveries are not signed")
    assert list(warnings_of(Settings(), Registry())) == []
