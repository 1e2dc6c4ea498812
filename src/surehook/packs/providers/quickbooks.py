"""QuickBooks Online: many events in one request, as CloudEvents or in the format before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.reader import JsonReader, Sight, check_count
from surehook.packs.reading import decode, is_object, require_json
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading

_NOTIFICATIONS: Final = "eventNotifications"
_CHANGE: Final = "dataChangeEvent"
_ENTITIES: Final = "entities"

#: Of the older format: no id, but what and when within one company.
_ENTITY: Final = Reads(
    id=Joined(("body:/name", "body:/id", "body:/operation", "body:/lastUpdated"), by="/"),
    type=Joined(("body:/name", "body:/operation")),
    occurred_at="body:/lastUpdated",
    subject="body:/id",
)


#: One notification for each company.
_COMPANY: Final = Reads(id="body:/realmId")


class _Change(msgspec.Struct, frozen=True):
    entities: list[Raw] = []


class _Notification(msgspec.Struct, frozen=True, rename={"change": _CHANGE}):
    change: _Change = _Change()


class _Older(msgspec.Struct, frozen=True, rename={"notifications": _NOTIFICATIONS}):
    notifications: list[Raw]


_NOTIFICATION = msgspec.json.Decoder(_Notification)
_OLDER = msgspec.json.Decoder(_Older)


class QuickBooksReader(JsonReader):
    """A list is CloudEvents; an object the format before them, which has entities in notifications."""

    _company = Sight(_COMPANY)
    _entity = Sight(_ENTITY)

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        if not is_object(require_json(request.body)):
            return super().read(request, into)
        notifications = decode(_OLDER, request.body).notifications
        check_count(notifications)
        readings = [
            reading
            for number, raw in enumerate(notifications)
            for reading in self._entities(raw, number, request, into)
        ]
        check_count(readings)
        return readings

    def _entities(self, notification: Raw, number: int, request: Request, into: Reading) -> Iterator[Reading]:
        """Companies number their entities alike, so the company belongs to the id."""
        owner = self._company.part(notification, (), request, into)
        company = owner.id
        for at, raw in enumerate(_NOTIFICATION.decode(notification).change.entities):
            reading = self._entity.part(raw, (_NOTIFICATIONS, number, _CHANGE, _ENTITIES, at), request, into)
            reading.fault = reading.fault or owner.fault
            reading.id = f"{company}/{reading.id}" if company and reading.id else None
            reading.subject = f"{company}/{reading.subject}" if company and reading.subject else None
            yield reading


class QuickBooks(SignedPack):
    """Both formats are read, and each event of a request is one here. The subject is company and entity: ``9130/42``.

    CloudEvents have ids, and types like ``qbo.customer.created.v1``. Events of the format before them have neither: the id
    is put together from company, entity, operation and time, the type is e.g. ``Customer.Create``. When you change the
    format, the handlers' types change. An event tells what changed, not how: fetch the entity.
    """

    name = "quickbooks"
    summary = "QuickBooks Online (Intuit) webhooks, CloudEvents and before"
    docs_url = "https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks"
    certainty = "official example"
    credential = "the app's verifier token: Developer portal, the app, Webhooks, Show verifier token"
    layout = Layout(header="intuit-signature")
    encoding = "base64"
    items = ""
    item = Reads(
        id="body:/id",
        type="body:/type",
        occurred_at="body:/time",
        subject=Joined(("body:/intuitaccountid", "body:/intuitentityid"), by="/"),
    )
    sample_type = "qbo.customer.created.v1"
    sample_body = (
        {
            "specversion": "1.0",
            "id": "88cd52aa-33b6-4351-9aa4-47572edbd068",
            "source": "intuit.sample",
            "type": "qbo.customer.created.v1",
            "datacontenttype": "application/json",
            "time": "2026-09-21T14:13:20Z",
            "intuitentityid": "42",
            "intuitaccountid": "9130000000000001",
            "data": {},
        },
    )

    def reader(self, settings: ProviderSettings) -> Reader:
        return QuickBooksReader(self.reads, self.items, self.item)


PACK: Final[Pack] = QuickBooks()
