"""CloudEvents 1.0 (https://github.com/cloudevents/spec): an event in the form that other systems understand.

Attributes are those of the specification; both content modes of its HTTP binding are here, and the JSON of its event format.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

SPECVERSION: Final = "1.0"
STRUCTURED: Final = "application/cloudevents+json"

#: What a header's value may hold as it is (HTTP binding, 3.1.3.2): visible ASCII but for the quote and the percent sign.
_ENCODED = re.compile("[^!#-$&-~]")
_JSON_TYPE = re.compile(r"[^;]*[/+]json\s*(?:;.*)?", re.IGNORECASE)


class CloudEvent(msgspec.Struct, frozen=True):
    """One event. ``time`` is RFC 3339; ``data`` is the bytes that ``datacontenttype`` says, None for none."""

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: bytes | None = None
    #: Other attributes: names in lower-case letters and digits.
    extensions: Mapping[str, str] = {}

    def attributes(self) -> dict[str, str]:
        """Every attribute that is set, but for the content type, by its name."""
        known = {
            "specversion": SPECVERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
        }
        return {name: value for name, value in (known | dict(self.extensions)).items() if value is not None}

    def structured(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of the structured mode: JSON stays JSON, everything else is base64."""
        document: dict[str, Any] = dict(self.attributes())
        if self.datacontenttype is not None:
            document["datacontenttype"] = self.datacontenttype
        if self.data is not None:
            if is_json_type(self.datacontenttype):
                document["data"] = Raw(self.data)
            else:
                document["data_base64"] = base64.b64encode(self.data).decode()
        return {"content-type": f"{STRUCTURED}; charset=utf-8"}, msgspec.json.encode(document)

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of the binary mode: the data as it is, the attributes in headers."""
        headers = {f"ce-{name}": _in_header(value) for name, value in self.attributes().items()}
        if self.datacontenttype is not None:
            headers["content-type"] = self.datacontenttype
        return headers, self.data or b""


def is_json_type(content_type: str | None) -> bool:
    """Whether data of this media type is JSON; without one it is."""
    return content_type is None or _JSON_TYPE.fullmatch(content_type) is not None


def _in_header(value: str) -> str:
    """Percent-encoded as the HTTP binding wants it: each byte of what a header cannot hold."""
    return _ENCODED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), value)
