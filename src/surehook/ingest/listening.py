"""The sockets of an address, bound by this process or by the one that started it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable

import msgspec

from surehook.errors import ConfigurationError

#: Connections that the kernel keeps until a process accepts them.
BACKLOG = 2048


class Address(msgspec.Struct, frozen=True):
    """Where a port is; ``section`` names the settings that say so."""

    host: str
    port: int
    section: str = "server"

    def bind(self) -> list[socket.socket]:
        """Bound sockets that do not listen yet: several where the host has several addresses, all with one port.

        Raises ConfigurationError when the address cannot be had.
        """
        bound: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            try:
                for family, kind, protocol, _, address in self._resolve():
                    sock = stack.enter_context(socket.socket(family, kind, protocol))
                    _bind(sock, address, bound[0].getsockname()[1] if bound else self.port)
                    bound.append(sock)
            except OSError as error:
                raise self.explain(error) from error
            stack.pop_all()
        return bound

    def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Let the kernel take connections. Raises ConfigurationError when it refuses."""
        try:
            for sock in sockets:
                sock.listen(BACKLOG)
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> ConfigurationError:
        """What stands in the way, and which setting changes it."""
        address = f"{self.host}:{self.port}"
        setting = f"[{self.section}] port (SUREHOOK_{self.section.upper()}__PORT)"
        if error.errno == errno.EADDRINUSE:
            text = f"{address} is in use: stop what listens there, or set another {setting}"
        elif error.errno == errno.EACCES:
            text = f"{address} may not be opened by this user: set {setting} to 1024 or more"
        else:
            text = f"cannot listen on {address}: {error}. Check host and port in [{self.section}]"
        return ConfigurationError(text)

    def _resolve(self) -> Iterable[tuple[int, int, int, str, tuple[object, ...]]]:
        found = socket.getaddrinfo(
            self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        known = [one for one in dict.fromkeys(found) if _is_supported(one[0])]
        if not known:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return known


def _is_supported(family: int) -> bool:
    """Whether the kernel has it: names resolve to IPv6 addresses also where it was built without."""
    try:
        socket.socket(family).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def _bind(sock: socket.socket, address: tuple[object, ...], port: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
    sock.bind((address[0], port, *address[2:]))
