"""A sender, an installation and its receivers: what every scenario is played on."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.scenario.backends import Backend
from tests.scenario.checker import Violation, check
from tests.scenario.history import History, read_history
from tests.scenario.installation import Installation
from tests.scenario.receiver import SECRET, Receiver
from tests.scenario.sender import Sender
from tests.scenario.webhooks import EXPECTED


class Scene(msgspec.Struct, frozen=True):
    """The three parties, and what the installation stands on."""

    backend: Backend
    sender: Sender
    server: Installation
    ledger: Receiver
    store: Receiver

    def history(self) -> History:
        """What they all say has happened."""
        journals = [self.sender.journal]
        return read_history(self.server.database, journals, [self.ledger.log, self.store.log])

    def violations(self) -> list[Violation]:
        """What the checker finds; call it when the installation is at rest."""
        return check(self.history(), EXPECTED)


def installation(folder: Path, *receivers: Receiver, backend: Backend | None = None) -> Installation:
    """An installation, not started yet, that delivers to these receivers; alone on a SQLite file unless told otherwise."""
    folder.mkdir()
    server = Installation(folder, {"RECEIVER_SECRET": SECRET})
    if backend is not None:
        server.use(backend)
    server.configure(destinations={receiver.name: destination(receiver) for receiver in receivers})
    return server


def destination(receiver: Receiver) -> dict[str, object]:
    """How an installation is configured to deliver to a receiver."""
    return {
        "url": receiver.url,
        "secrets": ["env:RECEIVER_SECRET"],
        "allow_private": True,
        "timeout": "2s",
        "retries": ["200ms", "400ms", "800ms"],
    }
