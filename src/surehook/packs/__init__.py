"""Provider packs: what is known of each kind of sender, and the providers that the settings make of it.

Everything that a pack of one's own needs is here; those in ``providers`` are examples.
"""

from __future__ import annotations

from surehook.packs.address import Address
from surehook.packs.build import build_provider
from surehook.packs.catalogue import PACKS, pack_named
from surehook.packs.keystore import Fetch, Fetched, KeyStore, KeysUnavailable
from surehook.packs.pack import SECRET_HEADERS, Pack, Setup
from surehook.packs.places import Joined, Reads
from surehook.packs.provider import Provider
from surehook.packs.reader import JsonReader
from surehook.packs.request import BadSignature, Delivery, Draft, Found, KeysNeeded, KeySource, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.layout import Layout, SignatureScheme
from surehook.packs.schemes.moments import MILLISECONDS, SECONDS, TIMESTAMP
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, KeysWanted, Reader, Reading, Received, Refused, Verdict

__all__ = [
    "MILLISECONDS",
    "PACKS",
    "SECONDS",
    "SECRET_HEADERS",
    "TIMESTAMP",
    "Address",
    "BadSignature",
    "Challenge",
    "Delivery",
    "Draft",
    "Fetch",
    "Fetched",
    "Found",
    "Joined",
    "JsonReader",
    "KeySource",
    "KeyStore",
    "KeysNeeded",
    "KeysUnavailable",
    "KeysWanted",
    "Layout",
    "Pack",
    "Provider",
    "Reader",
    "Reading",
    "Reads",
    "Received",
    "Refused",
    "Request",
    "Scheme",
    "Setup",
    "SignatureScheme",
    "SignedPack",
    "Verdict",
    "build_provider",
    "pack_named",
]
