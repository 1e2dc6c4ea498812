"""No verification."""

from __future__ import annotations

from typing import Final

from surehook.packs.configurable import ConfigurablePack
from surehook.packs.pack import Pack, Setup
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import NoScheme


class Unverified(ConfigurablePack):
    """Whoever reaches the port is believed."""

    name = "none"
    summary = "no verification: only behind something that verifies"
    docs_url = "https://cheatsheetseries.owasp.org/cheatsheets/Webhook_Security_Cheat_Sheet.html"
    needs_secrets = False
    proof = "none: whoever reaches the port is believed"
    credential = "none"

    def scheme(self, setup: Setup) -> Scheme:
        return NoScheme()


PACK: Final[Pack] = Unverified()
