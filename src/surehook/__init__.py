"""Reliable incoming webhooks: verified, stored once, processed in one transaction, delivered."""

__version__ = "0.1.0"
