"""Where deliveries may connect to: the one place that makes their sockets.

A destination's address is vetted three times: as it is written (``check_url``), when its name is resolved (one forbidden
answer refuses them all, so that a name cannot alternate), and for good when the socket for it is made, since that
sees the very address that is connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import AddrInfoType, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from surehook.errors import ConfigurationError, did_you_mean
from surehook.publish.connections import SoberConnector

#: Private and loopback ranges: what ``allow_private`` opens. 100.64/10 is in it because VPNs and clusters use it.
PRIVATE: Final = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7"),
    )
)

#: Everything else that no delivery may reach, from the IANA special-purpose registries. An address that carries an IPv4
#: address inside (NAT64, 6to4, Teredo, IPv4-compatible) is forbidden whatever it carries; IPv4-mapped ones are unwrapped.
FORBIDDEN: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::ffff:0:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ),
    )
)
_IPV4_COMPATIBLE: Final = ip_network("::/96")  # holds ::1, which is judged as private before it

#: Where clouds answer with credentials: inside ranges that ``allow_private`` opens, or public.
METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
            "fd00:c1::a9fe:a9fe",  # Oracle
        ),
    )
)

#: Names that are never on the public internet. So is every name without a dot.
_PRIVATE_NAMES: Final = ("localhost", "internal", "local", "localdomain", "home.arpa")

_LATER: Final = ("redis", "rediss", "nats", "tls", "amqp", "amqps", "kafka")
_SUPPORTED: Final = "supported are https, and http where allow_private = true"


class Forbidden(OSError):
    """A destination's address is one that deliveries may not reach."""


def refusal(address: str, *, allow_private: bool) -> str | None:
    """Why deliveries may not connect to an IP address, or None: they may."""
    if "%" in address:
        return "an address with a zone id"
    try:
        found = ip_address(address)
    except ValueError:
        return "no IP address in its usual form"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return _judge(found, allow_private=allow_private)


def _judge(address: IPv4Address | IPv6Address, *, allow_private: bool) -> str | None:
    if address in METADATA:
        return "the metadata service of a cloud"
    if any(address in network for network in PRIVATE):
        return None if allow_private else "a private or loopback address (allow_private = true allows those)"
    if address in _IPV4_COMPATIBLE or any(address in network for network in FORBIDDEN):
        return "a reserved, link-local, multicast or translated address"
    return None


def check_url(name: str, url: str, allow_private: bool) -> URL:
    """The parsed URL of the destination ``name``, if deliveries to it are possible.

    Raises ConfigurationError, with what to change, when the scheme is not available, the URL carries a user or a
    password, or the host is an address or name that deliveries may not reach. A name is resolved only when connecting.
    """
    place = f"destinations.{name}.url"
    if any(character <= " " or character in "\x7f\\" for character in url):
        raise ConfigurationError(f"{place} holds a space, a backslash or a control character: remove it")
    try:
        parsed = URL(url)
    except ValueError as error:
        raise ConfigurationError(f"{place} is no URL: {error}") from None
    _check_scheme(place, parsed.scheme, allow_private)
    if not parsed.raw_host or "@" in url.partition("//")[2].partition("/")[0]:
        raise ConfigurationError(
            f"{place} must name a host, without a user or password: sign with secrets, or set an Authorization header"
        )
    if parsed.explicit_port == 0:
        raise ConfigurationError(f"{place} has port 0, and nothing can listen there")
    _check_host(place, parsed.raw_host.removesuffix("."), allow_private)
    return parsed


def _check_scheme(place: str, scheme: str, allow_private: bool) -> None:
    if scheme == "https" or (scheme == "http" and allow_private):
        return
    if scheme == "http":
        raise ConfigurationError(
            f"{place} is plain http, which anyone on the way can read: use https, or set allow_private = true if the "
            "destination is in your own network"
        )
    if scheme in _LATER:
        raise ConfigurationError(
            f"{place}: {scheme} is not available in this version, a later one brings brokers; {_SUPPORTED}"
        )
    hint = did_you_mean(scheme, ("https", "http")) if scheme else "Write the whole URL, https://..."
    raise ConfigurationError(f"{place} has the scheme {scheme!r}; {_SUPPORTED}. {hint}")


def _check_host(place: str, host: str, allow_private: bool) -> None:
    if _is_numeric(host):
        why = refusal(host, allow_private=allow_private)
        if why is not None:
            raise ConfigurationError(f"{place}: {host} is {why}")
    elif not allow_private and _is_private_name(host):
        raise ConfigurationError(
            f"{place}: the name {host!r} is one of a private network: set allow_private = true if that is meant"
        )


def _is_numeric(host: str) -> bool:
    """Whether the system would read an address into this, in forms such as ``0x7f.1`` too. Asks no name server."""
    try:
        socket.getaddrinfo(host.partition("%")[0], None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _is_private_name(host: str) -> bool:
    name = host.lower()
    return "." not in name or any(name == end or name.endswith(f".{end}") for end in _PRIVATE_NAMES)


def connector(*, allow_private: bool, keep_alive: float) -> TCPConnector:
    """The connection pool of one destination, which reaches allowed addresses only; idle seconds as given."""
    return SoberConnector(
        keepalive_timeout=keep_alive,
        limit=0,  # the publisher bounds what is in flight
        resolver=VettingResolver(allow_private=allow_private),
        socket_factory=partial(_vetted_socket, allow_private),
    )


def _vetted_socket(allow_private: bool, target: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, address = target
    why = refusal(str(address[0]), allow_private=allow_private)
    if why is not None:
        raise Forbidden(f"{address[0]} is {why}")
    return socket.socket(family, kind, protocol)


#: Resolves (host, port, family) to socket addresses, blocking.
Lookup = Callable[[str, int, socket.AddressFamily], list[str]]


def system_lookup(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    """The addresses that the operating system knows for a name, in its order of preference."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class VettingResolver(AbstractResolver):
    """Asks the system's resolver, and refuses a name of which any answer is forbidden.

    Each lookup has a thread of its own, for the shared ones could all be waiting for the name server of another
    destination. There is one at a time: the connector lets those who ask for the same name wait for the same lookup.
    """

    def __init__(self, *, allow_private: bool, lookup: Lookup = system_lookup) -> None:
        self._allow_private = allow_private
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises Forbidden, or OSError when there are none."""
        addresses = await _in_thread(partial(self._lookup, host, port, family))
        for address in addresses:
            why = refusal(address, allow_private=self._allow_private)
            if why is not None:
                raise Forbidden(f"{host} resolves to {address}, {why}")
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)


async def _in_thread(work: Callable[[], list[str]]) -> list[str]:
    """Run blocking work in a daemon thread, which, if it hangs, keeps neither the loop nor the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def run() -> None:
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            _tell(loop, partial(_set, future, None, error))
        else:
            _tell(loop, partial(_set, future, found, None))

    threading.Thread(target=run, name="surehook-resolve", daemon=True).start()
    return await future


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(callback)


def _set(future: asyncio.Future[list[str]], found: list[str] | None, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(found or [])
