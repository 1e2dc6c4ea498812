"""The place of a secret that the sender hands over with its first request, and that is to outlive this process."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from surehook.errors import ConfigurationError, Unavailable
from surehook.packs.request import BadSignature
from surehook.secrets import Secret, resolve


class Vacancy:
    """A secret that is not there yet. ``path``: the file that it is to be kept in; None: only in memory.

    While it is vacant whoever asks first fills it, as the senders want it, so a provider is to be configured just before its
    webhook is made.
    """

    def __init__(self, reference: str, path: Path | None) -> None:
        self.reference = reference
        self._path = path

    @classmethod
    def of(cls, reference: str) -> Vacancy | None:
        """The vacancy that a reference names: a file that does not exist, in a folder that does."""
        if not is_vacant(reference):
            return None
        path = Path(reference.partition(":")[2])
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"the secret {reference} cannot be kept: there is no folder {path.parent}"
            )
        return cls(reference, path)

    def look(self) -> Secret | None:
        """The secret, if another process was given it meanwhile. Raises ConfigurationError when it cannot be read."""
        return resolve(self.reference) if self._path is not None and self._path.exists() else None

    def fill(self, value: str) -> Secret:
        """Keep it, durably and once.

        Raises BadSignature when another one was kept in this moment, and Unavailable when it cannot be written.
        """
        if self._path is not None:
            try:
                _write(self._path, value)
            except FileExistsError:
                raise BadSignature("no handshake is expected: a secret is known") from None
            except OSError as error:
                raise Unavailable(
                    f"the secret that the sender handed over cannot be kept in {self.reference}: {error.strerror}"
                ) from error
        return Secret(value, self.reference)


def is_vacant(reference: str) -> bool:
    """Whether it names a file that does not exist."""
    kind, _, name = reference.partition(":")
    return kind == "file" and bool(name) and not Path(name).exists()


def _write(path: Path, value: str) -> None:
    """All of it or nothing, readable by this user alone. Raises FileExistsError when it is there."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)
