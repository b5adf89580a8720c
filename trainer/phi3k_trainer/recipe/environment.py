"""What a variable of `cluster.env` may be: its name, whether it looks like a secret, which port its address needs.

The regular expressions mean the same to Python and to Go's RE2: the chart reads them from `files/facts.json`.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

NAME = r"^[A-Za-z_.-][A-Za-z0-9_.-]*$"
"""Names that every version of Kubernetes allows."""
WANDB_KEY_VARIABLE = "WANDB_API_KEY"
WANDB_ADDRESS_VARIABLE = "WANDB_BASE_URL"
HUB_TOKEN_VARIABLE = "HF_TOKEN"
HUB_ADDRESS_VARIABLE = "HF_ENDPOINT"
SECTION_OF = {
    WANDB_KEY_VARIABLE: "wandb_secret",
    WANDB_ADDRESS_VARIABLE: "wandb_secret",
    HUB_TOKEN_VARIABLE: "hf_secret",
}
"""Variables whose secret is named by a field of its own. The address is in the same secret as the key, so that
whoever stored the key also decides where it is sent."""
SECRET_NAME = (
    r"(?i)(PASSWORD|PASSWD|PASSPHRASE|(SECRET|CREDENTIAL)S?(_|$)|(API|ACCESS|PRIVATE|SECRET)KEY|TOKEN(_|$)"
    r"|(^|_)KEYS?(_ID|_PEM|_B64|_BASE64|_VALUE|_JSON|_[0-9]+)?$"
    r"|(^|_)(PASS|PWD|PSW|AUTH|PAT|SAS|DSN|CONNECTION_STRING)$)"
)
HARMLESS_NAME = (
    r"(?i)((^|_)(PUBLIC|CACHE|SORT|PRIMARY|PARTITION|INDEX|PAD|EOS|BOS|UNK|SEP|MASK)_(KEYS?|TOKEN)$"
    r"|_(FILE|PATH|DIR|DIRECTORY|NAME|TYPE|LIMIT|COUNT|SIZE|LENGTH|TIMEOUT|TTL|SECONDS|URL|URI|ENDPOINT|HOST|PORT"
    r"|MODE|ENABLED|DISABLED|METHOD)$|^GOOGLE_APPLICATION_CREDENTIALS$)"
)
HARMLESS_VALUE = r"(?i)^(0|1|true|false|yes|no|on|off|none|null|)$"
SECRET_VALUE = (
    r"(://[^/?#@ \t\n]*:[^/?#@ \t\n]+@|^https?://[^/?#@ \t\n]+@|-----BEGIN |(^|[^A-Za-z0-9])("
    r"hf_[A-Za-z0-9]{10,}|(AKIA|ASIA)[A-Z0-9]{16}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{30,}"
    r"|ya29\.[A-Za-z0-9_-]{10,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|nvapi-[A-Za-z0-9_-]{20,}|dckr_pat_"
    r"[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.|Bearer [A-Za-z0-9._~+/-]{8,})"
    r"|(AccountKey|SharedAccessKey|SharedAccessSignature|[Pp]assword|PASSWORD|[Pp]wd|[?&]sig|X-Amz-Signature)=[^;& ]+"
    r'|"private_key")'
)
PROXY_NAME = r"(?i)^(HTTPS?|ALL|FTP|SOCKS|WSS?|GRPC)_PROXY$"
LOGIN_WITHOUT_SCHEME = r"^[^/@: \t\n]+:[^/@ \t\n]*@"
"""The beginning of a proxy's value that has a password and no scheme."""
ADDRESS = r"(?s)^[A-Za-z][A-Za-z0-9+.-]*://([^/?#@ \t\n]*@)?(\[[^\]]*\]|[^/?#@:\[\] \t\n]*)(:([0-9]+))?([/?#].*)?$"
HOST_AND_PORT = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]+)(/[^ \t\n]*)?$"
SOCKS_PORT = 1080
HIGHEST_PORT = 65535
NO_PROXY = "NO_PROXY"


def is_name(name: str) -> bool:
    """Return whether a variable can have the name."""
    return re.fullmatch(NAME, name) is not None


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable's name, or its value, is that of a secret."""
    if re.search(SECRET_VALUE, value):
        return True
    if re.search(PROXY_NAME, name) and re.search(LOGIN_WITHOUT_SCHEME, value):
        return True
    named = re.search(SECRET_NAME, name) and not re.search(HARMLESS_NAME, name)
    return bool(named) and not re.fullmatch(HARMLESS_VALUE, value)


def problems(env: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the variables, one sentence each; a value is never part of it."""
    for name, value in env.items():
        if not is_name(name):
            yield f"{name!r} can't be the name of a variable: use letters, digits and _"
        elif name in SECTION_OF:
            yield f"can't set {name}: put it into a secret, and name that in cluster.{SECTION_OF[name]}"
        elif looks_secret(name, value):
            port = ", and allow its port in cluster.egress" if re.search(PROXY_NAME, name) else ""
            yield (
                f"can't set {name}: it looks like a secret, and a recipe is stored where many can read it. Put it into "
                f"a Secret and refer to that: cluster.pod.env_secrets.{name}: {{secret: NAME, key: KEY}}{port}"
            )
        elif any(not 1 <= port <= HIGHEST_PORT for port in ports(name, value)):
            yield f"can't set {name}: its address has a port that is not between 1 and {HIGHEST_PORT}"


def ports(name: str, value: str) -> list[int]:
    """Return the ports of the address, or of the comma-separated addresses, in a variable; none in any other text.

    An address without a scheme counts in a proxy's variable, elsewhere if its host has a dot.
    """
    if name.upper() == NO_PROXY:
        return []
    parts = [part.strip(" ") for part in value.split(",")]
    if all(re.fullmatch(ADDRESS, part) for part in parts):
        return [port for part in parts if (port := _port_of(part)) is not None]
    if found := re.fullmatch(HOST_AND_PORT, value):
        port = int(found[2])
        if re.search(PROXY_NAME, name):
            return [port]
        return [port] if "." in found[1] and port <= HIGHEST_PORT else []
    return []


def address_problem(address: str) -> str | None:
    """Return what is wrong with the address of a web server, without repeating it: it may hold a password."""
    try:
        parsed = urlsplit(address)
        port = parsed.port
    except ValueError:
        return f"has a port that is not between 1 and {HIGHEST_PORT}, or a host that can't be read"
    if parsed.scheme not in ("http", "https") or not parsed.hostname or port == 0:
        return "should be an address such as https://wandb.example or http://wandb.tools.svc:8080"
    if "@" in parsed.netloc:
        return "holds a user or password: a recipe is stored where many can read it"
    return None


def _port_of(address: str) -> int | None:
    found = re.fullmatch(ADDRESS, address)
    if found and found[4]:
        return int(found[4])
    return SOCKS_PORT if address.lower().startswith("socks") else None
