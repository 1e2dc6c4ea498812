"""Secrets come from where their reference says, and never show themselves."""

from __future__ import annotations

import copy
import pickle
import traceback
from pathlib import Path

import pytest

from surehook.errors import ConfigurationError
from surehook.secrets import Secret, resolve

VALUE = "whsec_c2VjcmV0LW9mLWFjbWU"


def test_a_variable_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_SECRET", f" {VALUE}\n")
    secret = resolve("env:ACME_SECRET")
    assert secret.reveal() == f" {VALUE}\n"
    assert secret.encode() == f" {VALUE}\n".encode()
    assert secret.reference == "env:ACME_SECRET"


@pytest.mark.parametrize(
    ("written", "value"),
    [(VALUE, VALUE), (f"{VALUE}\n", VALUE), (f"{VALUE}\r\n", VALUE), (f"{VALUE}\n\n", f"{VALUE}\n")],
)
def test_a_file_loses_one_newline(tmp_path: Path, written: str, value: str) -> None:
    path = tmp_path / "acme"
    path.write_bytes(written.encode())
    assert resolve(f"file:{path}").reveal() == value


def test_a_secret_never_shows_itself() -> None:
    secret = Secret(VALUE, "env:ACME_SECRET")
    shown = f"{secret} {secret!r} {[secret]} {{}}".format(secret)
    assert VALUE not in shown
    assert "env:ACME_SECRET" in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)


@pytest.mark.parametrize(
    "reference",
    [
        VALUE,
        "",
        "env:",
        "file:",
        "vault:acme",
        f"ENV:{VALUE}",
        f"https://user:{VALUE}@host",
        f" env:{VALUE}",
        f"env:{VALUE}",
    ],
)
def test_what_may_be_the_secret_itself_is_not_repeated(reference: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(reference)
    assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match="env:ACME_SECRET is not set: export it"):
        resolve("env:ACME_SECRET")


def test_an_empty_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACME_SECRET", "")
    (tmp_path / "acme").write_text("\n")
    for reference in ("env:ACME_SECRET", f"file:{tmp_path}/acme"):
        with pytest.raises(ConfigurationError, match="is empty"):
            resolve(reference)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        resolve(f"file:{tmp_path}/missing")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        resolve(f"file:{tmp_path}")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve("file:\0")


def test_a_secret_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACME_SECRET", "caf\udce9")
    (tmp_path / "acme").write_bytes(b"caf\xe9")
    for reference in ("env:ACME_SECRET", f"file:{tmp_path}/acme"):
        with pytest.raises(ConfigurationError, match="is not UTF-8"):
            resolve(reference)
