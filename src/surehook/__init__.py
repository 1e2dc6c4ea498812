"""Reliable incoming webhooks: verified, stored once, processed in one transaction, delivered."""

from surehook.app import App
from surehook.errors import Reject, Retry
from surehook.handlers import Event, SyncTransaction, Transaction
from surehook.version import __version__

__all__ = ["App", "Event", "Reject", "Retry", "SyncTransaction", "Transaction", "__version__"]
