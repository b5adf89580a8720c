"""Connections only to addresses that a recipe from somebody else may reach."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable

import httpcore

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class ForbiddenAddressError(Exception):
    """A URL leads to an address that is not public."""


def is_public(address: IPAddress) -> bool:
    """Whether `address` is reachable from the whole internet: not loopback, link-local, private, multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
    return address.is_global and not address.is_multicast


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to permitted addresses only.

    The name is resolved here and the connection goes to the very address that was checked, so neither a redirect nor
    a name that resolves differently the second time leads elsewhere. TLS still verifies the certificate of the name.
    """

    def __init__(self, permitted: Callable[[IPAddress], bool]) -> None:
        """Every address that a host resolves to is asked of `permitted`."""
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
            ForbiddenAddressError: as `connect_tcp`.
        """
        with contextlib.suppress(httpcore.ConnectError):
            await self._permitted_addresses(host, port)

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
