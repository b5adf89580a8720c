"""Which proxy leads to a server, by the rules of Go's net/http/httpproxy, which kubectl follows. Pure functions."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from phi3k_trainer.errors import UnavailableError, UsageError

PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(server: str, environment: Mapping[str, str]) -> str | None:
    """Return the address of the proxy to `server`, or None for a direct connection.

    HTTPS_PROXY, HTTP_PROXY and NO_PROXY are read in upper case, else in lower case. Loopback is always direct.

    Raises:
        UsageError: the variable can't be read as an address.
        UnavailableError: the proxy speaks another protocol than HTTP.
    """
    address = urlsplit(server)
    names = {"https": ("HTTPS_PROXY", "https_proxy"), "http": ("HTTP_PROXY", "http_proxy")}.get(address.scheme, ())
    source, proxy = next(((name, environment[name]) for name in names if environment.get(name)), ("", ""))
    if not proxy:
        return None
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if is_direct(address.hostname or "", address.port or PORTS[address.scheme], excluded):
        return None
    return checked_proxy(proxy, source)


def checked_proxy(proxy: str, source: str) -> str:
    """Return the proxy's address with its scheme, which is http unless it is stated; `source` names it in messages.

    Raises:
        UsageError: it can't be read as an address.
        UnavailableError: it speaks another protocol than HTTP.
    """
    parsed = _split(proxy if "://" in proxy else f"http://{proxy}")
    if parsed is None or not parsed.hostname:
        raise UsageError(f"{source} should be the address of a proxy, such as http://proxy.example:3128")
    scheme = parsed.scheme.lower()
    if scheme not in PORTS:
        raise UnavailableError(
            f"{source} names a proxy with the protocol {scheme}, which phi3k can't use: name an http or https proxy"
        )
    return parsed._replace(scheme=scheme).geturl()


def _split(address: str) -> SplitResult | None:
    """Return the parts of an address, or None where host or port can't be read."""
    try:
        parsed = urlsplit(address)
        _ = parsed.port
    except ValueError:
        return None
    return parsed


def is_direct(host: str, port: int, excluded: str) -> bool:
    """Return whether NO_PROXY's list `excluded` (or loopback) rules out a proxy to `host`:`port`."""
    host = host.lower()
    address = _ip(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = [entry.strip().lower() for entry in excluded.split(",")]
    return "*" in entries or any(_matches(entry, host, address, port) for entry in entries if entry)


def _ip(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # Go holds ::ffff:192.0.2.1 and 192.0.2.1 for equal.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _matches(entry: str, host: str, address: Address | None, port: int) -> bool:
    if "/" in entry and entry.rpartition("/")[2].isdigit():
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            pass
    name, named_port = _host_and_port(entry)
    if not name or (named_port and named_port != str(port)):
        return False
    if (excluded := _ip(name)) is not None or address is not None:
        return excluded == address
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _host_and_port(entry: str) -> tuple[str, str]:
    """Split `host:port` and `[address]:port`; an IPv6 address alone has no port."""
    if entry.startswith("["):
        host, bracket, port = entry[1:].partition("]:")
        return (host, port) if bracket else (entry, "")
    host, colon, port = entry.partition(":")
    return (host, port) if colon and ":" not in port else (entry, "")
