"""Whether a run reports to Weights & Biases online, offline or not at all, and why."""

import netrc
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.credentials import clear_text_problem, is_named, wandb_servers
from phi3k_trainer.recipe.training import WandbSection

KEY_VARIABLE = "WANDB_API_KEY"
PROBE_SECONDS = 5.0
Mode = Literal["online", "offline", "off"]


@dataclass(frozen=True)
class Server:
    """A W&B server and the key for it; the key is None where an identity token stands for it."""

    address: str
    key: str | None

    def problem(self) -> str | None:
        """Ask the server whom the key belongs to, for at most PROBE_SECONDS; None when all is well, else what is wrong.

        Runs in a thread of its own, because a name server that does not answer holds a call longer than any time-out.
        """
        outcome: list[str | None] = []
        thread = threading.Thread(target=lambda: outcome.append(_ask_viewer(self)), daemon=True)
        thread.start()
        thread.join(PROBE_SECONDS)
        return outcome[0] if outcome else f"{self.address} did not answer within {PROBE_SECONDS:.0f} s"


@dataclass(frozen=True)
class Choice:
    """A mode, the reason for it in words that follow "because", and the server of an online run."""

    mode: Mode
    reason: str
    server: Server | None = None


def server_address(section: WandbSection) -> str:
    """Address of the server: the recipe's, else WANDB_BASE_URL, else that of `wandb login`, else the public one."""
    return (section.base_url or wandb_servers()[0]).rstrip("/")


def choose_mode(section: WandbSection) -> Choice:
    """Choose the mode of a run; `auto` asks the server who the key belongs to, for at most PROBE_SECONDS.

    Under `auto` WANDB_MODE decides when it is set, as it does for every program that uses W&B.
    """
    wanted, source = section.mode, "tracking.wandb.mode says so"
    if wanted == "auto":
        wanted, source = _mode_of_environment(), "WANDB_MODE says so"
    if wanted == "off" or wanted == "offline":
        return Choice(wanted, source)
    address = server_address(section)
    if problem := credentials_problem(address):
        return Choice("offline", problem)
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return Choice("online", "WANDB_IDENTITY_TOKEN_FILE is set", Server(address, None))
    key = api_key(address)
    if key is None:
        return Choice("offline", f"there is no key for {address}: set WANDB_API_KEY or run `wandb login`")
    if key.split() != [key]:
        return Choice("offline", f"the key for {address} has white space in it: is there more than one in its secret?")
    server = Server(address, key)
    if wanted == "online":
        return Choice("online", source, server)
    problem = server.problem()
    return Choice("offline", problem) if problem else Choice("online", f"{address} knows the key", server)


def _mode_of_environment() -> Literal["auto", "online", "offline", "off"]:
    match os.environ.get("WANDB_MODE", "").lower():
        case "offline" | "dryrun":
            return "offline"
        case "disabled":
            return "off"
        case "online" | "run":
            return "online"
        case _:
            return "auto"


def credentials_problem(address: str) -> str | None:
    """Why no key may be sent to a server, or None: only the recipe names it, or the way there is not encrypted."""
    if not is_named(address, wandb_servers()) and _netrc_key(address) is None:
        return (
            f"only the recipe names {address}, and keys go to servers that you name yourself: "
            f"set WANDB_BASE_URL={address} (on a cluster beside the key in the secret of cluster.wandb_secret) "
            f"or run `wandb login --host {address}`"
        )
    return clear_text_problem(address)


def api_key(address: str) -> str | None:
    """The key for a server: WANDB_API_KEY if you name the server, else its host's password in the netrc file, or None.

    White space around it is left out: a secret that was made from a file often ends in a new line.
    """
    if is_named(address, wandb_servers()) and (key := os.environ.get(KEY_VARIABLE, "").strip()):
        return key
    return _netrc_key(address)


def _netrc_key(address: str) -> str | None:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        entry = netrc.netrc(str(path)).authenticators(urlsplit(address).netloc)
    except (OSError, netrc.NetrcParseError):
        return None
    return entry[2] if entry else None


def _ask_viewer(server: Server) -> str | None:
    address = server.address
    try:
        response = httpx.post(
            f"{address}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=("api", server.key) if server.key else None,
            timeout=PROBE_SECONDS,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{address} can't be reached ({error or type(error).__name__})"
    except OSError as error:
        return certificates_problem() or f"{address} can't be reached ({error})"
    if response.status_code in {401, 403}:
        return f"{address} refuses the key"
    if response.status_code != 200:
        return f"{address} answers with status {response.status_code}"
    try:
        viewer = response.json()["data"]["viewer"]
    except (ValueError, KeyError, TypeError):
        return f"{address} does not answer like a W&B server"
    return None if viewer or server.key is None else f"{address} does not know the key"
