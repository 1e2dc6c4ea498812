"""``surehook init``: a small project that works at once."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import click

from surehook.cli.options import global_options
from surehook.cli.project import APP, ENVIRONMENT, IGNORED, SETTINGS
from surehook.errors import InvalidRequest

FILES: Final = {
    "surehook.toml": SETTINGS,
    "app.py": APP,
    ".env.example": ENVIRONMENT,
    ".gitignore": IGNORED,
}


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Write over files that exist, secrets too.")
@global_options()
def init(folder: Path, force: bool) -> None:
    """Write a small working project into DIR (the working directory)."""
    files = {**FILES, **_new_secrets()}
    existing = [name for name in files if (folder / name).exists()]
    if existing and not force:
        listed = "\n".join(f"  {folder / name}" for name in existing)
        raise InvalidRequest(
            "nothing was written, for these files exist already. --force writes over all of them and makes new secrets, "
            f"which senders and receivers then need as well:\n{listed}"
        )
    for name, text in files.items():
        _write(folder / name, text)
        click.echo(f"wrote {folder / name}")
    click.echo("\nNext:")
    steps = ["surehook run", "surehook send stripe     # in a second terminal", "surehook events list"]
    for step in [f"cd {folder}", *steps] if folder != Path() else steps:
        click.echo(f"  {step}")


def _new_secrets() -> dict[str, str]:
    """Random secrets in the form of each provider."""
    return {
        "secrets/github": secrets.token_hex(32) + "\n",
        "secrets/stripe": f"whsec_{secrets.token_urlsafe(24)}\n",
        "secrets/ledger": f"whsec_{_base64()}\n",
    }


def _base64() -> str:
    """24 random bytes without "+" and "/", which no shell or editor stumbles over."""
    while True:
        text = secrets.token_urlsafe(24)
        if not {"-", "_"} & set(text):
            return text


def _write(path: Path, text: str) -> None:
    secret = path.parent.name == "secrets"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o777)
    # The mode is right from the first moment on, also where a file is written over.
    path.unlink(missing_ok=True)
    path.touch(mode=0o600 if secret else 0o666, exist_ok=False)
    path.write_text(text, encoding="utf-8")
