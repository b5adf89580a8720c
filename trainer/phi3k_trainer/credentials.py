"""Which servers a user's keys may be sent to: those that the user's own configuration names, over TLS.

A recipe may come from anyone, so an address that only a recipe names gets no key.
"""

import configparser
import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

from phi3k_trainer.contract import PLAIN_HTTP_VARIABLE
from phi3k_trainer.errors import PermissionDeniedError

PUBLIC_WANDB = "https://api.wandb.ai"
CLUSTER_SUFFIXES = (".svc", ".svc.cluster.local")
PORTS = {"http": 80, "https": 443}


def wandb_servers() -> list[str]:
    """Return the addresses of W&B servers that the user names: WANDB_BASE_URL, `wandb login`'s, the public one."""
    named = [os.environ.get("WANDB_BASE_URL"), _wandb_login_address(), PUBLIC_WANDB]
    return [address.strip().rstrip("/") for address in named if address and address.strip()]


def is_named(address: str, servers: list[str]) -> bool:
    """Return whether one of the servers has the scheme, host and port of the address."""
    return _origin(address) in map(_origin, servers)


def clear_text_problem(address: str) -> str | None:
    """Return why no key may go to the address, or None: plain http is for this machine and the cluster's services."""
    parsed = urlsplit(address)
    host = (parsed.hostname or "").rstrip(".")
    if (
        parsed.scheme != "http"
        or host.endswith(CLUSTER_SUFFIXES)
        or _is_loopback(host)
        or os.environ.get(PLAIN_HTTP_VARIABLE)
    ):
        return None
    return (
        f"a key would go to {address} unencrypted: use https, or set {PLAIN_HTTP_VARIABLE}=1 if that network can be "
        "trusted"
    )


def refuse_hub_token_in_clear() -> None:
    """Do nothing unless huggingface_hub would send a token to HF_ENDPOINT unencrypted.

    Raises:
        PermissionDeniedError: it would.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "")
    problem = clear_text_problem(endpoint)
    if problem is None:
        return
    from huggingface_hub import get_token

    if get_token():
        raise PermissionDeniedError(f"HF_ENDPOINT: {problem}")


def _wandb_login_address() -> str | None:
    """Return the address that `wandb login --host` has stored, if any."""
    directory = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(directory / "settings", encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return None
    return settings.get("default", "base_url", fallback=None)


def _origin(address: str) -> tuple[str, str, int] | None:
    try:
        parsed = urlsplit(address)
        port = parsed.port or PORTS[parsed.scheme]
    except (ValueError, KeyError):
        return None
    return parsed.scheme, (parsed.hostname or "").rstrip("."), port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
