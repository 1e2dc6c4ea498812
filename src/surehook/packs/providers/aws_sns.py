"""Amazon SNS: the envelope is signed in one of its own fields, with a key that AWS publishes for each region."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from surehook.clock import Millis
from surehook.config import ProviderSettings
from surehook.errors import InvalidRequest
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reading import FAULTS
from surehook.packs.request import BadSignature, Delivery, Draft, Found, KeySource, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.moments import TIMESTAMP
from surehook.packs.schemes.published import (
    Pair,
    certificate,
    check_validity,
    pinned_pairs,
    rsa_keys,
    signer,
)

#: With the name of a region: ``sns.s3-us-west-2.amazonaws.com`` is a bucket that somebody has called sns.
_HOST: Final = r"https://sns\.[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE: Final = re.compile(_HOST + r"/[A-Za-z0-9_-]{1,128}\.pem")
_SUBSCRIBE: Final = re.compile(_HOST + r"/\?[!-~]{1,2000}")

_NOTIFICATION: Final = "Notification"
_CONFIRMATION: Final = "SubscriptionConfirmation"
_FIELDS: Final = {
    _NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    _CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_FIELDS["UnsubscribeConfirmation"] = _FIELDS[_CONFIRMATION]
_ALGORITHMS: Final = {"1": "sha1", "2": "sha256"}

_SAMPLE_CERTIFICATE: Final = (
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-00000000000000000000000000000000.pem"
)

_OBJECT = msgspec.json.Decoder(dict[str, Any])


class _Scheme:
    """The topic is looked at before anything is fetched: AWS signs for every topic of every account."""

    def __init__(self, setup: Setup) -> None:
        self._topics = {secret.reveal(): secret.reference for secret in setup.secrets}
        self._pinned = pinned_pairs(setup.pinned)
        self._store = setup.store
        self._confirm = setup.settings.confirm

    def verify(self, request: Request) -> str:
        message = _message(request.body)
        reference = self._topics.get(message.get("TopicArn", ""))
        if reference is None:
            raise BadSignature("the message is of a topic (TopicArn) that is not among the secrets")
        algorithm = _ALGORITHMS.get(message.get("SignatureVersion", ""))
        if algorithm is None:
            raise BadSignature("SignatureVersion is neither 1 nor 2")
        parts, candidates = _signed(message), [message.get("Signature", "").encode("utf-8", "replace")]
        if not any(key.matches(parts, candidates) for key in self._keys(message, algorithm, request.now)):
            raise BadSignature("Signature does not fit the message", parts)
        if self._confirm and message["Type"] == _CONFIRMATION:
            self._store.find(_confirmation(message), request.now)
        return reference

    def sign(self, draft: Draft) -> Delivery:
        key, now = signer(rsa_keys(self._pinned)), draft.now
        message = _envelope(draft) | {
            "TopicArn": next(iter(self._topics)),
            "Timestamp": TIMESTAMP.write(now),
            "SignatureVersion": "2",
            "SigningCertURL": _SAMPLE_CERTIFICATE,
        }
        message["Signature"] = key.sign(_signed(message)).decode()
        headers = {
            "content-type": "text/plain; charset=UTF-8",
            "x-amz-sns-message-type": message["Type"],
            "x-amz-sns-message-id": message["MessageId"],
            "x-amz-sns-topic-arn": message["TopicArn"],
        }
        return Delivery(headers, msgspec.json.encode(message), draft.query, draft.method)

    def _keys(self, message: Mapping[str, str], algorithm: str, now: Millis) -> Sequence[Key]:
        if self._pinned:
            return rsa_keys(self._pinned, algorithm)
        url = message.get("SigningCertURL", "")
        if not _CERTIFICATE.fullmatch(url):
            raise BadSignature("SigningCertURL is none of Amazon SNS")
        found = self._store.find(KeySource(url, certificate), now)
        check_validity(found, now)
        return rsa_keys([Pair("", found.public_key())], algorithm)


def _message(body: bytes) -> dict[str, str]:
    """The members that are text, of which nothing is believed yet."""
    try:
        members = _OBJECT.decode(body)
    except FAULTS:
        raise BadSignature("the body is no JSON object") from None
    message = {name: value for name, value in members.items() if isinstance(value, str)}
    if message.get("Type") not in _FIELDS:
        raise BadSignature("Type is none of Amazon SNS")
    if any(members.get(name) is not None and name not in message for name in _FIELDS[message["Type"]]):
        raise BadSignature("a signed member is no text")
    return message


def _signed(message: Mapping[str, str]) -> Sequence[bytes]:
    return [f"{name}\n{message[name]}\n".encode() for name in _present(message)]


def _present(message: Mapping[str, str]) -> Iterator[str]:
    return (name for name in _FIELDS[message["Type"]] if name in message)


def _confirmation(message: Mapping[str, str]) -> KeySource:
    """What confirms the subscription by being fetched. Raises BadSignature when it would do something else."""
    url = message.get("SubscribeURL", "")
    wanted = {"Action": ["ConfirmSubscription"], "TopicArn": [message["TopicArn"]]}
    if not _SUBSCRIBE.fullmatch(url) or not parse_qs(urlsplit(url).query).items() >= wanted.items():
        raise BadSignature("SubscribeURL confirms no subscription to the topic")
    return KeySource(url, lambda body: Found(True))


def _envelope(draft: Draft) -> dict[str, str]:
    """The members of a draft that is a message of SNS; anything else becomes the text of one."""
    try:
        members = _OBJECT.decode(draft.body)
    except FAULTS:
        members = {}
    if not isinstance(members.get("Message"), str):
        members = {"Message": _text(draft.body)}
    kept = {name: value for name, value in members.items() if isinstance(value, str)}
    kind = kept.get("Type", "")
    return {**kept, "Type": kind if kind in _FIELDS else _NOTIFICATION, "MessageId": draft.external_id}


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("a message of SNS is text, and this body is not UTF-8") from None


class AwsSns(Pack):
    """The secrets are the ARNs of your topics: without them anybody's AWS account could send signed messages.

    A subscription is confirmed by fetching its ``SubscribeURL``, once its signature has been verified; ``confirm = false``
    leaves that to you. Confirmations are events too, and an ``UnsubscribeConfirmation`` is one to be looked at. Raw message
    delivery carries no signature: leave it off. ``UnsubscribeURL`` is not signed: do not follow it.
    """

    name = "aws-sns"
    summary = "Amazon SNS topics with an HTTPS subscription"
    docs_url = "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html"
    certainty = "official library"
    proof = "`Signature` in the body: RSA, with the certificate that `SigningCertURL` names"
    credential = "the topic's ARN: Amazon SNS, Topics, the topic. It is not secret, but says whom to believe"
    settings = frozenset({"keys", "confirm"})
    reads = Reads(
        id="body:/MessageId", type="body:/Type", subject="body:/TopicArn", occurred_at="body:/Timestamp"
    )
    sample_type = _NOTIFICATION
    sample_body = {
        "Type": _NOTIFICATION,
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:orders",
        "Subject": "Order shipped",
        "Message": '{"order":4711,"state":"shipped"}',
        "Timestamp": "2026-09-21T14:13:20.000Z",
        "SignatureVersion": "2",
        "Signature": "",
        "SigningCertURL": _SAMPLE_CERTIFICATE,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A notification whatever the type, for SNS knows no others that carry something."""
        return super().sample(external_id=external_id)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"user-agent": "Amazon Simple Notification Service Agent"}


PACK: Final[Pack] = AwsSns()
