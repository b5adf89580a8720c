"""Pictures behind the addresses of object stores: read into the store with the caps and records of those from URLs."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.pictures.verifying import Failure, Picture, PictureVerifier, shortened
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, UnavailableError
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.recipe.data import FetchSection
from phi3k_trainer.remote.folders import PackageMissingError, RemoteObjects, TooLargeError


def read_objects(
    addresses: Iterable[str],
    section: FetchSection,
    store: Store,
    verifier: PictureVerifier,
    *,
    known_failures: Mapping[str, Failure] | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Picture | Failure]:
    """Read each object into `store`, unless it is there already; one bad picture never stops the others.

    Args:
        addresses: Each is read once, however often it occurs.
        section: How many are read at once, and how large one may be.
        store: Remembers where each address led, so that an interrupted reading continues where it was.
        verifier: Decides whether an object is a usable picture.
        known_failures: Addresses that are known to fail permanently: not requested again.
        progress: Called in this thread after each address; what it raises ends the reading.

    Raises:
        StorageError: the store can't be written.
        PackageMissingError: the package that reads such addresses is not installed.
    """
    wanted = list(dict.fromkeys(addresses))
    known = known_failures or {}
    objects = RemoteObjects()
    results: dict[str, Picture | Failure] = {}
    failed = 0

    def one(address: str) -> Picture | Failure:
        if address in known:
            return known[address]
        fact = store.urls.get(address)
        if fact is not None and store.path(str(fact["sha256"])).exists():
            return verifier.stored(str(fact["sha256"]))
        return _read(address, objects, section, store, verifier)

    with ThreadPoolExecutor(section.concurrency, "phi3k-objects") as threads:
        try:
            for address, result in zip(wanted, threads.map(one, wanted), strict=True):
                results[address] = result
                failed += isinstance(result, Failure)
                if progress is not None:
                    progress(Progress("pictures", len(results), len(wanted), failed))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _read(
    address: str, objects: RemoteObjects, section: FetchSection, store: Store, verifier: PictureVerifier
) -> Picture | Failure:
    try:
        body = objects.read(address, section.max_bytes)
    except PackageMissingError:
        raise
    except TooLargeError as error:
        return Failure("too_many_bytes", shortened(f"{error} (data.fetch.max_bytes)"))
    except MissingInputError as error:
        return Failure("missing_object", shortened(str(error)))
    except PermissionDeniedError as error:
        return Failure("forbidden_object", shortened(str(error)), transient=True)
    except UnavailableError as error:
        return Failure("connection", shortened(str(error)), transient=True)
    result = verifier.body(body)
    if isinstance(result, Picture):
        store.put(body)
        store.urls.put(address, {"url": address, "sha256": result.sha256})
    return result
