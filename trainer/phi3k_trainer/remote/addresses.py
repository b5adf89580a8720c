"""What an address is: text such as `s3://bucket/folder/rows.csv`. Imports nothing of the stores' own packages."""

import posixpath
import re
from dataclasses import dataclass

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PATTERN = re.compile(r"[*?\[]")
_LOCAL = "file"


@dataclass(frozen=True)
class Store:
    """A kind of store that addresses lead to."""

    name: str
    """For messages."""
    package: str
    """The Python package that reads it; fsspec finds it by the scheme."""
    install: str
    """What to install where the package is missing."""
    credentials: str
    """Where its package looks for credentials, for messages."""


_S3 = Store("S3", "s3fs", "phi3k[s3]", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or the pod's identity")
_GCS = Store("Google Cloud Storage", "gcsfs", "phi3k[gcs]", "GOOGLE_APPLICATION_CREDENTIALS, or the pod's identity")
_AZURE = Store(
    "Azure Blob Storage",
    "adlfs",
    "phi3k[azure]",
    "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or the pod's identity",
)
_HUB = Store("the hub", "huggingface_hub", "phi3k[train]", "HF_TOKEN")
STORES = {"s3": _S3, "gs": _GCS, "gcs": _GCS, "az": _AZURE, "abfs": _AZURE, "abfss": _AZURE, "hf": _HUB}
"""Each scheme that is read, and the store that it means."""


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case, None for a path or a name."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def is_address(text: str | None) -> bool:
    """Return whether a text names an object of a store that is read."""
    return text is not None and scheme_of(text) in STORES


def store_of(address: str) -> Store:
    """Return the store that an address leads to."""
    return STORES[str(scheme_of(address))]


def checked(text: str | None) -> str | None:
    """Return a path as it is, `file://` as a path, and an address with its scheme in lower case.

    Raises:
        ValueError: it is an address that can't be read: of another scheme, without a bucket, or with credentials in it.
    """
    if text is None or (scheme := scheme_of(text)) is None:
        return text
    rest = text[len(scheme) + len("://") :]
    if scheme == _LOCAL:
        if not rest.startswith("/"):
            raise ValueError("is a file:// address of another machine: a path of this one begins with file:///")
        return rest
    if scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ValueError(
            f"is an address ({scheme}://) of a kind that is not read here: the kinds are {known}. Download it and give "
            "its path, or its id on the hub"
        )
    bucket = rest.partition("/")[0]
    if not bucket:
        raise ValueError(f"is an address without a bucket: write {scheme}://bucket/path")
    if "@" in bucket and scheme != "hf" and ":" in bucket.partition("@")[0]:
        raise ValueError(f"has credentials in it: give them through {STORES[scheme].credentials}")
    return f"{scheme}://{rest}"


def has_pattern(address: str) -> bool:
    """Return whether an address is a pattern: `*`, `**`, `?` or `[...]` in it stand for parts of names."""
    return bool(_PATTERN.search(address))


def parent(address: str) -> str:
    """Return the folder that an object lies in; of a pattern, the folder in front of its first part with a pattern."""
    scheme, _, rest = address.partition("://")
    parts = rest.rstrip("/").split("/")
    first = next((index for index, part in enumerate(parts) if _PATTERN.search(part)), len(parts) - 1)
    return f"{scheme}://{'/'.join(parts[: max(first, 1)])}"


def joined(folder: str, relative: str) -> str:
    """Return the address of a path below a folder, which may climb with `..` but not out of its bucket."""
    scheme, _, rest = folder.partition("://")
    bucket, _, base = rest.partition("/")
    inside = posixpath.normpath(posixpath.join("/", base, relative)).lstrip("/")
    return f"{scheme}://{bucket}/{inside}"
