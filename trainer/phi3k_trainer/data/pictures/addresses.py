"""Connections to permitted addresses only: a recipe may come from anyone."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable

import httpcore

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's registries of special-purpose addresses, written out: Python's own tables differ between versions.
_NOT_PUBLIC_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers; metadata of some clouds
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a public-looking address that is Azure's host
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to IPv6, no longer in use
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# What is not global unicast is not public: loopback, IPv4-compatible, unique local, link-local, site-local, multicast.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
_HEXADECIMAL = re.compile("0x[0-9a-f]*")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class ForbiddenAddressError(Exception):
    """A URL leads to an address that is not public."""


def is_public(address: IPAddress) -> bool:
    """Whether `address` is reachable from the whole internet: not loopback, link-local, private, multicast.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is as public as that.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    embedded = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if embedded is not None:
        return is_public(embedded)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_IPV6)


def _may_be_an_address(host: str) -> bool:
    """Whether `host`, which this machine can't resolve, could be an address or a local name to somebody who can.

    So are names whose last label is a number, decimal or hexadecimal (WHATWG URL, "ends in a number"), IPv6 with a zone
    or percent signs, and `localhost` with its subdomains (RFC 6761).
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return (
        not last
        or last == "localhost"
        or last.isdigit()
        or bool(_HEXADECIMAL.fullmatch(last))
        or any(sign in host for sign in "%:[]")
    )


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to permitted addresses only.

    The name is resolved here and the connection goes to the very address that was checked, so neither a redirect nor
    a name that resolves differently the second time leads elsewhere. TLS still verifies the certificate of the name.
    """

    def __init__(self, permitted: Callable[[IPAddress], bool]) -> None:
        """`permitted` decides about each address that a host resolves to."""
        self._permitted = permitted
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address of `host` that answers.

        Raises:
            ForbiddenAddressError: `host` has no permitted address.
            httpcore.ConnectError: the name is unknown, or no address answers.
        """
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._permitted_addresses(host, port):
            try:
                return await self._tcp.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def check_before_proxy(self, host: str, port: int) -> None:
        """Refuse what this machine knows to be forbidden; a name that only the proxy can resolve is left to it.

        Raises:
            ForbiddenAddressError: as `connect_tcp`, or `host` is another spelling of an address.
        """
        try:
            await self._permitted_addresses(host, port)
        except httpcore.ConnectError:
            # Where loopback is permitted, nothing has to be hidden from the proxy.
            if _may_be_an_address(host) and not self._permitted(_LOOPBACK):
                raise ForbiddenAddressError(f"{host} is neither a name nor an address that can be checked") from None

    async def _permitted_addresses(self, host: str, port: int) -> list[IPAddress]:
        addresses = await _resolve(host, port)
        permitted = [address for address in addresses if self._permitted(address)]
        if not permitted:
            raise ForbiddenAddressError(f"{host} is {', '.join(map(str, addresses))}, which is not a public address")
        return permitted


async def _resolve(host: str, port: int) -> list[IPAddress]:
    """The addresses of `host`, in the resolver's order.

    Raises:
        httpcore.ConnectError: the name is unknown.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from error
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
