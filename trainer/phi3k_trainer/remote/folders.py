"""Folders and objects of stores, by fsspec: every failure is an error of ours, and what may pass is tried again."""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, Phi3kError, UnavailableError
from phi3k_trainer.remote.addresses import has_pattern, parent, scheme_of, store_of
from phi3k_trainer.storage import WAITS_SECONDS

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Result = TypeVar("Result")

# The errors by which the stores' packages say so, by the names of their classes: importing all packages to name the
# classes themselves would need all of them installed.
_FORBIDDEN = frozenset(
    {
        "PermissionError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
    }
    | {"NoAuthTokenError", "ProfileNotFound", "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError"}
    | {"GatedRepoError"}
)
_MISSING = frozenset({"FileNotFoundError", "ResourceNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"})
_UNTRUSTED = frozenset({"SSLCertVerificationError", "ClientConnectorCertificateError"})
_FORBIDDEN_STATUS = frozenset({401, 403})
_MISSING_STATUS = 404
BLOCK_BYTES = 16 * 2**20
"""What one request reads of a large object."""
# What a store says of an object's content, by preference: one that changes has another.
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "blob_id",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
)


@dataclass(frozen=True)
class RemoteFile:
    """One object below an address."""

    name: str
    """Its path below the address, or below the folder in front of a pattern; of a single object, its own name."""
    path: str
    """Its path as the store's file system takes it."""
    size: int
    """Bytes."""
    version: str
    """Changes when the object does."""


class RemoteFolder:
    """The store that an address leads to."""

    def __init__(self, address: str) -> None:
        """Nothing is asked of the store yet.

        Raises:
            PackageMissingError: the package that reads this kind of store is not installed.
        """
        self.address = address
        self._files = _file_system(address)
        self.root = self._path(parent(address) if has_pattern(address) else address)
        """The path, as the store's file system takes it, that names of objects are relative to."""

    def list_files(self) -> list[RemoteFile]:
        """Return the objects at the address or below it, by name.

        Raises:
            MissingInputError: there are none.
            PermissionDeniedError: the credentials are missing, wrong, or not enough.
            UnavailableError: the store doesn't answer, in each of several attempts.
        """
        found = retried(self._listed, self.address)
        if not found:
            raise MissingInputError(f"{self.address} is not there: no object has that name, and none lies below it")
        return sorted(found, key=lambda file: file.name)

    def _listed(self) -> list[RemoteFile]:
        find = self._files.glob if has_pattern(self.address) else self._files.find
        entries: Mapping[str, Any] = find(self._path(self.address), detail=True)
        found = entries.items()
        return [_remote_file(self.root, path, entry) for path, entry in found if entry.get("type") == "file"]

    def _path(self, address: str) -> str:
        return str(self._files._strip_protocol(address)).rstrip("/")

    def list_files_or_none(self) -> list[RemoteFile]:
        """Return the objects at the address or below it, by name; none where there are none.

        Raises:
            Phi3kError: as `list_files`.
        """
        try:
            return self.list_files()
        except MissingInputError:
            return []

    def read(self, name: str) -> bytes:
        """Return the content of a small object below the address.

        Raises:
            Phi3kError: as `list_files`.
        """
        return retried(lambda: bytes(self._files.cat_file(f"{self.root}/{name}")), f"{self.address}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a small object below the address.

        Raises:
            Phi3kError: as `list_files`.
        """
        retried(lambda: self._files.pipe_file(f"{self.root}/{name}", content), f"{self.address}/{name}")

    def write_file(self, source: Path, name: str) -> str:
        """Write a file to an object below the address, and return the object's version.

        Raises:
            Phi3kError: as `list_files`.
        """
        path = f"{self.root}/{name}"

        def attempt() -> str:
            self._files.put_file(str(source), path)
            entry = self._files.info(path)
            if entry["size"] != source.stat().st_size:
                raise ConnectionError(f"{entry['size']:,} of {source.stat().st_size:,} bytes arrived")
            return _version(entry)

        return retried(attempt, f"{self.address}/{name}")

    def remove(self, name: str) -> None:
        """Delete an object below the address.

        Raises:
            Phi3kError: as `list_files`.
        """
        retried(lambda: self._files.rm_file(f"{self.root}/{name}"), f"{self.address}/{name}")

    def blocks(self, file: RemoteFile) -> Iterator[bytes]:
        """Yield the content of an object, block by block; a connection that breaks costs one block.

        Raises:
            UnavailableError: the object has changed meanwhile, or as in `list_files`.
            Phi3kError: as `list_files`.
        """
        for start in range(0, file.size, BLOCK_BYTES):
            yield retried(lambda start=start: self._block(file, start), f"{self.address} ({file.name})")  # type: ignore[misc]
        now = retried(lambda: _version(self._files.info(file.path)), self.address)
        if now != file.version:
            raise UnavailableError(f"{self.address} ({file.name}) was changed while it was read: try again")

    def _block(self, file: RemoteFile, start: int) -> bytes:
        end = min(start + BLOCK_BYTES, file.size)
        block = bytes(self._files.cat_file(file.path, start=start, end=end))
        if len(block) != end - start:
            raise ConnectionError(f"{len(block):,} of {end - start:,} bytes arrived")
        return block


class RemoteObjects:
    """Single objects of any number of stores, for several threads."""

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self._stores: dict[str, AbstractFileSystem] = {}
        self._lock = Lock()

    def read(self, address: str, max_bytes: int) -> bytes:
        """Return the content of an object.

        Raises:
            TooLargeError: it has more than `max_bytes`.
            PackageMissingError: as `RemoteFolder`.
            MissingInputError: there is no such object.
            PermissionDeniedError, UnavailableError: as `RemoteFolder.list_files`.
        """
        scheme = str(scheme_of(address))
        with self._lock:
            if scheme not in self._stores:
                self._stores[scheme] = _file_system(address)
        files = self._stores[scheme]

        def attempt() -> bytes:
            path = files._strip_protocol(address)
            try:
                # A byte more than may be read, so that one request tells.
                body = bytes(files.cat_file(path, start=0, end=max_bytes + 1))
            except Exception:  # stores answer a range of an empty object with an error
                if files.info(path)["size"]:
                    raise
                return b""
            if len(body) > max_bytes:
                raise TooLargeError(f"{address} has more than {max_bytes:,} bytes")
            return body

        return retried(attempt, address)


class TooLargeError(Phi3kError):
    """An object has more bytes than may be read."""


class UntrustedStoreError(UnavailableError):
    """The certificate of a store is of an authority that nobody here has said to trust."""


class PackageMissingError(MissingInputError):
    """The package that reads a kind of store is not installed."""


def retried(attempt: Callable[[], Result], address: str, *, wait: Callable[[float], None] = time.sleep) -> Result:
    """Return what `attempt` returns; it is called again, after pauses, where the store may only be busy.

    Raises:
        Phi3kError: it failed for good, or in every attempt.
    """
    for pause in (*WAITS_SECONDS, None):
        try:
            return attempt()
        except Phi3kError:
            raise
        except Exception as error:  # the boundary: every package of a store has errors of its own
            reason = explained(error, address)
            if pause is None or not isinstance(reason, UnavailableError) or isinstance(reason, UntrustedStoreError):
                raise reason from error
        wait(pause)
    raise AssertionError("the last attempt returns or raises")


def explained(error: Exception, address: str) -> Phi3kError:
    """Return an error of ours for one of a store's package."""
    store = store_of(address)
    names = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    detail = f"{type(error).__name__}: {error}"
    if names & _FORBIDDEN or _status(error) in _FORBIDDEN_STATUS:
        return PermissionDeniedError(
            f"{address} may not be read or written ({detail}): give credentials of {store.name} that may, through "
            f"{store.credentials}"
        )
    if names & _UNTRUSTED:
        return UntrustedStoreError(
            f"{address} can't be read ({certificates_problem() or detail}): name the authority that signed the "
            "certificate of the store in SSL_CERT_FILE and AWS_CA_BUNDLE"
        )
    if names & _MISSING or _status(error) == _MISSING_STATUS:
        return MissingInputError(f"{address} is not there ({detail})")
    return UnavailableError(
        f"{address} can't be reached ({detail}), in each of {len(WAITS_SECONDS) + 1} attempts: try again when "
        f"{store.name} answers"
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and those that it was raised from."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error carries, None where it has none."""
    for name in ("code", "status", "status_code"):
        value = getattr(error, name, None)
        if isinstance(value, int):
            return value
    return None


def _file_system(address: str) -> "AbstractFileSystem":
    store = store_of(address)
    if importlib.util.find_spec(store.package) is None:
        raise PackageMissingError(
            f"{address} is an address of {store.name}, which the package {store.package} reads, and that is not "
            f"installed: pip install '{store.install}'"
        )
    import fsspec

    # An instance of our own: listings that are kept for others would be old.
    return retried(
        lambda: fsspec.filesystem(str(scheme_of(address)), skip_instance_cache=True, use_listings_cache=False), address
    )


def _remote_file(root: str, path: str, entry: Mapping[str, Any]) -> RemoteFile:
    below = path[len(root) :].lstrip("/") if path != root else PurePosixPath(path).name
    return RemoteFile(below, path, int(entry["size"] or 0), _version(entry))


def _version(entry: Mapping[str, Any]) -> str:
    return next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
