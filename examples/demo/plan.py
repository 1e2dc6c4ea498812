"""What the demo sends, and what must come of it."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
from examples.demo import signing
from examples.demo.samples import Samples, load
from examples.demo.signing import Request

#: Requests that come twice at once, and that come again when everything is done; one more comes five times at once.
TWICE, LATE, COPIES = 15, 5, 5
#: Further than this from now, a signed timestamp is stale: 300 s by Stripe's own advice.
STALE = 600


class Expected(msgspec.Struct, frozen=True):
    """The numbers that must be seen at the end. They follow from what is sent; nothing here is measured."""

    sent: int
    accepted: int
    duplicates: int
    rejected: int
    processed: int
    ignored: int
    #: Events of which the first attempt fails and the second succeeds.
    retried: int
    dead: int
    replay_suspects: int
    #: Rows in the shop's own tables.
    effects: Mapping[str, int]
    messages: int
    #: Messages to the destination that is down at first.
    messages_retried: int


class Plan(msgspec.Struct, frozen=True):
    """``first`` is sent in no order, many at once; ``later`` when the first events have been processed."""

    first: tuple[Request, ...]
    later: tuple[Request, ...]
    expected: Expected


def make_plan(secrets: Mapping[str, str], now: int) -> Plan:
    """The same every time, but for the secrets and the time ``now`` (unix seconds)."""
    samples = load(secrets, now)
    authentic = samples.all()
    chance = random.Random(1)
    copies = chance.sample(authentic, TWICE) + [samples.invoices[0]] * (COPIES - 1)
    refused = forged(samples, secrets, now) + stale(samples, secrets, now)
    suspect = under_another_id(samples.github[0])
    first = [*authentic, *copies, *refused]
    chance.shuffle(first)
    later = (suspect, *chance.sample(authentic, LATE))
    sent = len(first) + len(later)
    return Plan(tuple(first), later, expect(samples, sent, len(copies) + LATE, len(refused)))


def forged(samples: Samples, secrets: Mapping[str, str], now: int) -> list[Request]:
    """Wrong secret, changed body, no signature, a signature of the wrong kind: each must be refused."""
    release, order = samples.github[-1], samples.orders[0]
    wrong = [
        signing.github("guessed", "push", "22222222-cc78-11f0-81ab-000000000000", release.body),
        signing.stripe("whsec_guessed", now, samples.invoices[0].body),
        signing.shopify("guessed", "orders/create", "22222222-0000-4a3c-8e0a-000000000000", order.body),
    ]
    changed = [tampered(release), tampered(samples.refunds[0]), tampered(order)]
    unsigned = [
        without(release, "X-Hub-Signature-256"),
        without(samples.invoices[1], "Stripe-Signature"),
        without(order, "X-Shopify-Hmac-Sha256"),
    ]
    crossed = signing.github(secrets["stripe"], "push", "33333333-cc78-11f0-81ab-000000000000", release.body)
    return [*wrong, *changed, *unsigned, crossed]


def stale(samples: Samples, secrets: Mapping[str, str], now: int) -> list[Request]:
    """Signed with the right secret, too long ago or in the future."""
    body = samples.payouts[0].body
    return [signing.stripe(secrets["stripe"], now + offset, body) for offset in (-STALE, -30 * STALE, STALE)]


def under_another_id(request: Request) -> Request:
    """What an eavesdropper can do with GitHub's deliveries: their signature does not cover the delivery's id."""
    headers = {**request.headers, "X-GitHub-Delivery": "11111111-cc78-11f0-81ab-000000000000"}
    return msgspec.structs.replace(request, headers=headers)


def tampered(request: Request) -> Request:
    """One byte more than was signed."""
    return msgspec.structs.replace(request, body=request.body + b" ")


def without(request: Request, header: str) -> Request:
    """The same request, but for one header."""
    kept = {name: value for name, value in request.headers.items() if name != header}
    return msgspec.structs.replace(request, headers=kept)


def expect(samples: Samples, sent: int, duplicates: int, rejected: int) -> Expected:
    """What the shop must have made of it."""
    authentic, suspects = len(samples.all()), 1
    releases = sum(request.headers["X-GitHub-Event"] == "release" for request in samples.github)
    invoices = len(samples.invoices) + len(samples.invoices_without_rate)
    to_chat = releases + len(samples.cancellations)
    to_ledger = invoices + len(samples.refunds)
    to_warehouse = len(samples.orders) + len(samples.products)
    return Expected(
        sent=sent,
        accepted=authentic + suspects,
        duplicates=duplicates,
        rejected=rejected,
        processed=authentic - len(samples.payouts),
        ignored=len(samples.payouts),
        retried=len(samples.orders),
        dead=len(samples.invoices_without_rate),
        replay_suspects=suspects,
        effects={
            "shop_activity": len(samples.github),
            "shop_payments": invoices,
            "shop_refunds": len(samples.refunds),
            "shop_orders": len(samples.orders),
        },
        messages=to_chat + to_ledger + to_warehouse,
        messages_retried=to_warehouse,
    )
