"""Where deliveries may connect to: every row of the deny table, and the forms an address can be hidden in."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import aiohttp
import pytest

from surehook.errors import ConfigurationError
from surehook.publish.egress import Forbidden, VettingResolver, check_url, connector, refusal

#: Network, and whether ``allow_private`` opens it.
DENIED = [
    ("0.0.0.0/8", False),
    ("10.0.0.0/8", True),
    ("100.64.0.0/10", True),
    ("127.0.0.0/8", True),
    ("169.254.0.0/16", False),
    ("172.16.0.0/12", True),
    ("192.0.0.0/24", False),
    ("192.0.2.0/24", False),
    ("192.88.99.0/24", False),
    ("192.168.0.0/16", True),
    ("198.18.0.0/15", False),
    ("198.51.100.0/24", False),
    ("203.0.113.0/24", False),
    ("224.0.0.0/4", False),
    ("240.0.0.0/4", False),
    ("255.255.255.255/32", False),
    ("168.63.129.16/32", False),
    ("100.100.100.200/32", False),
    ("::/128", False),
    ("::1/128", True),
    ("::7f00:1/128", False),
    ("::/96", False),
    ("64:ff9b::/96", False),
    ("64:ff9b:1::/48", False),
    ("100::/64", False),
    ("2001::/23", False),
    ("2001:db8::/32", False),
    ("2002::/16", False),
    ("3fff::/20", False),
    ("5f00::/16", False),
    ("fc00::/7", True),
    ("fd00:ec2::254/128", False),
    ("fd20:ce::254/128", False),
    ("fd00:42::42/128", False),
    ("fd00:c1::a9fe:a9fe/128", False),
    ("::ffff:0:0:0/96", False),
    ("fe80::/10", False),
    ("fec0::/10", False),
    ("ff00::/8", False),
]

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
]
PUBLIC += ["192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:200::1"]
PUBLIC += ["2a00:1450:4001::1", "::ffff:8.8.8.8"]


def ends(network: str) -> list[str]:
    found = ip_network(network)
    return [str(found[0]), str(found[-1])]


@pytest.mark.parametrize(("network", "_private"), DENIED)
def test_denied_networks_are_refused_from_their_first_address_to_their_last(
    network: str, _private: bool
) -> None:
    for address in ends(network):
        assert refusal(address, allow_private=False), address


@pytest.mark.parametrize(("network", "private"), DENIED)
def test_allow_private_opens_private_and_loopback_networks_only(network: str, private: bool) -> None:
    # The last one of ::/96 is as good as its first, which is the unspecified address.
    for address in ends(network):
        assert (refusal(address, allow_private=True) is None) is private, address


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address, allow_private=False) is None


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1",  # mapped
        "::ffff:a00:1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",  # compatible
        "64:ff9b::7f00:1",  # NAT64
        "2002:7f00:1::",  # 6to4
        "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo
        "fe80::1%eth0",
        "2606:4700::1111%1",
    ],
)
def test_addresses_that_hide_another_are_refused(address: str) -> None:
    assert refusal(address, allow_private=False)


def test_a_mapped_address_is_judged_as_the_one_inside() -> None:
    assert refusal("::ffff:127.0.0.1", allow_private=True) is None
    assert refusal("::ffff:169.254.169.254", allow_private=True)


@pytest.mark.parametrize("text", ["", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "example.com"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert refusal(text, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://ledger.example.com/webhooks?tenant=1",
        "https://ledger.example.com:8443",
        "HTTPS://Ledger.Example.com/",
        "https://münchen.example/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "https://ledger.example.com./x",
    ],
)
def test_public_urls_are_fine(url: str) -> None:
    assert check_url("ledger", url, allow_private=False).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/",
        "http://localhost/",
        "http://ledger:8080/x",
        "https://10.1.2.3/",
        "http://[::1]/",
    ],
)
def test_private_urls_are_fine_where_they_are_allowed(url: str) -> None:
    assert check_url("ledger", url, allow_private=True).raw_host
    with pytest.raises(ConfigurationError, match="allow_private = true"):
        check_url("ledger", url, allow_private=False)


@pytest.mark.parametrize(
    "host",
    [
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "0",
        "127.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "metadata.google.internal",
        "instance-data",
        "printer.local",
        "router.home.arpa",
    ],
)
def test_hosts_that_deliveries_may_not_reach(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"destinations\.ledger\.url"):
        check_url("ledger", f"https://{host}/", allow_private=False)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0", "169.254.169.254", "[fe80::1%eth0]"])
def test_hosts_that_not_even_allow_private_opens(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"destinations\.ledger\.url"):
        check_url("ledger", f"http://{host}/", allow_private=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user@example.com/", "without a user or password"),
        ("https://user:secret@example.com/", "without a user or password"),
        ("https://@example.com/", "without a user or password"),
        ("http://a@127.0.0.1#@b", "without a user or password"),
        ("https://exam\\ple.com/", "backslash"),
        ("https://example.com/a b", "space"),
        ("https://example.com/\tx", "control character"),
        ("https://example.com/\r\nx: y", "control character"),
        ("https:///path", "must name a host"),
        ("https:example.com", "must name a host"),
        ("https://example.com:99999/", "is no URL"),
        ("https://example.com:x/", "is no URL"),
        ("https://example.com:0/", "port 0"),
        ("example.com/webhooks", "Write the whole URL"),
        ("ftp://example.com/", "supported are https"),
        ("htps://example.com/", "Did you mean 'https'"),
        ("file:///etc/passwd", "supported are https"),
        ("redis://cache:6379/0", "not available in this version"),
        ("nats://broker", "not available in this version"),
        ("amqp://broker", "not available in this version"),
        ("kafka://broker", "not available in this version"),
    ],
)
def test_urls_that_cannot_work_are_refused_with_what_to_do(url: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        check_url("ledger", url, allow_private=True)
    assert "secret" not in str(caught.value).replace("secrets", "")


async def test_a_name_with_one_forbidden_answer_is_refused() -> None:
    def mixed(host: str, port: int, family: socket.AddressFamily) -> list[str]:
        return ["1.1.1.1", "::1"]

    with pytest.raises(Forbidden, match=r"rebind\.example resolves to ::1"):
        await VettingResolver(allow_private=False, lookup=mixed).resolve("rebind.example", 443)


async def test_a_name_with_allowed_answers_is_resolved_in_their_order() -> None:
    def two(host: str, port: int, family: socket.AddressFamily) -> list[str]:
        return ["2606:4700::1111", "1.1.1.1"]

    found = await VettingResolver(allow_private=False, lookup=two).resolve("example.com", 443)
    assert [(result["host"], result["port"], result["family"]) for result in found] == [
        ("2606:4700::1111", 443, socket.AF_INET6),
        ("1.1.1.1", 443, socket.AF_INET),
    ]


async def test_the_systems_resolver_is_asked_and_its_errors_are_passed_on() -> None:
    found = await VettingResolver(allow_private=True).resolve("localhost", 80)
    assert {result["host"] for result in found} <= {"127.0.0.1", "::1"}
    with pytest.raises(Forbidden):
        await VettingResolver(allow_private=False).resolve("localhost", 80)
    with pytest.raises(OSError, match=r"."):
        await VettingResolver(allow_private=False).resolve("no-such-host.invalid", 80)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
async def test_no_connection_is_made_to_an_address_that_is_not_allowed(host: str) -> None:
    """The pool on its own, without ``check_url`` before it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        pool = connector(allow_private=False, keep_alive=1)
        async with aiohttp.ClientSession(connector=pool) as session:
            with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
                await session.get(f"http://{host}:{port}/")
        with pytest.raises(BlockingIOError):
            server.accept()
