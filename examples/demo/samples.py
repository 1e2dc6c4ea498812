"""The bodies: real ones of GitHub, and variations on the samples of Stripe and Shopify, each with its own id."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from examples.demo import signing
from examples.demo.signing import Request

DATA = Path(__file__).parents[1] / "data"

#: How many variations of each sample are sent.
INVOICES, INVOICES_WITHOUT_RATE, REFUNDS, CANCELLATIONS, PAYOUTS = 9, 3, 4, 3, 2
ORDERS, PRODUCTS = 8, 5


class Samples(msgspec.Struct, frozen=True):
    """Every authentic request of the demo, once."""

    github: tuple[Request, ...]
    invoices: tuple[Request, ...]
    #: In a currency that the shop has no tax rate for, at first.
    invoices_without_rate: tuple[Request, ...]
    refunds: tuple[Request, ...]
    cancellations: tuple[Request, ...]
    #: The shop has no handler for them.
    payouts: tuple[Request, ...]
    orders: tuple[Request, ...]
    products: tuple[Request, ...]

    def all(self) -> list[Request]:
        """All of them, GitHub's first."""
        return list(itertools.chain(*msgspec.structs.astuple(self)))


def load(secrets: Mapping[str, str], now: int) -> Samples:
    """Read, vary and sign them; ``now`` is the unix time that Stripe's signatures carry."""

    def stripe(name: str, count: int, start: int, **fields: object) -> tuple[Request, ...]:
        bodies = (stripe_body(name, start + number, fields) for number in range(count))
        return tuple(signing.stripe(secrets["stripe"], now, body) for body in bodies)

    return Samples(
        github=tuple(github(secrets["github"])),
        invoices=stripe("invoice.paid", INVOICES, 100),
        invoices_without_rate=stripe("invoice.paid", INVOICES_WITHOUT_RATE, 200, currency="chf"),
        refunds=stripe("charge.refunded", REFUNDS, 300),
        cancellations=stripe("customer.subscription.deleted", CANCELLATIONS, 400),
        payouts=stripe("payout.paid", PAYOUTS, 500),
        orders=tuple(shopify(secrets["shopify"], "orders/create", ORDERS)),
        products=tuple(shopify(secrets["shopify"], "products/update", PRODUCTS)),
    )


def github(secret: str) -> list[Request]:
    """The payloads of ``data/github``, each under a delivery id of its own."""
    lines = (DATA / "github" / "payloads.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        signing.github(secret, example["event"], delivery_id(number), compact(example["payload"]))
        for number, example in enumerate(map(json.loads, lines))
    ]


def delivery_id(number: int) -> str:
    """Looks like GitHub's: a GUID."""
    return f"72d3162e-cc78-11f0-81ab-{number:012x}"


def stripe_body(name: str, number: int, fields: Mapping[str, object]) -> bytes:
    """The sample ``name`` with ids that end in ``number``, and with ``fields`` of the object replaced."""
    event = sample("stripe", name)
    event["created"] += number
    for part in (event, event["data"]["object"]):
        part["id"] = f"{part['id'][:-8]}{number:08d}"
    event["data"]["object"].update(fields)
    return compact(event)


def shopify(secret: str, topic: str, count: int) -> list[Request]:
    """The sample of ``topic`` with numbered ids."""
    requests = []
    for number in range(1, count + 1):
        body = sample("shopify", topic.replace("/", "-"))
        body["id"] += number
        body["admin_graphql_api_id"] = body["admin_graphql_api_id"].rpartition("/")[0] + f"/{body['id']}"
        if "order_number" in body:
            body |= {"order_number": 1000 + number, "name": f"#{1000 + number}"}
        delivery = f"b54557e4-{len(topic):04x}-4a3c-8e0a-{number:012x}"
        requests.append(signing.shopify(secret, topic, delivery, compact(body)))
    return requests


def sample(provider: str, name: str) -> dict[str, Any]:
    """A fresh copy of one file."""
    body: dict[str, Any] = json.loads((DATA / provider / f"{name}.json").read_text(encoding="utf-8"))
    return body


def compact(value: object) -> bytes:
    """JSON without white space, as the providers send it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
