"""Whether a server does what it is to be measured at: takes what is authentic, refuses what is not."""

from __future__ import annotations

import socket
from http.client import HTTPResponse

from bench.load import make_requests
from bench.processes import BenchError

#: Seconds that an answer may take.
PATIENCE = 30


def probe(name: str, port: int) -> None:
    """One event twice, and one whose signature is another's. Raises BenchError when the answers are not right."""
    event, other = make_requests(2, "probe")
    forged = _head(event) + _body(other)
    seen = [status(port, request) for request in (event, event, forged)]
    if seen != [200, 200, 401]:
        raise BenchError(f"{name}: an event, the same again and a forged one were answered {seen}")


def status(port: int, request: bytes) -> int:
    """Of the answer to a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        response.read()
        return response.status


def _head(request: bytes) -> bytes:
    return request[: -len(_body(request))]


def _body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]
