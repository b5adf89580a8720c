"""Fetching pictures from URLs: concurrent, bounded in time, bytes and redirects, resumable, trusting no server."""

import asyncio
import contextlib
import datetime
import email.utils
import importlib.metadata
import random
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpcore
import httpx

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.data.pictures.addresses import ForbiddenAddressError, GuardedBackend, IPAddress, is_public
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.pictures.verifying import Failure, Picture, PictureVerifier, shortened
from phi3k_trainer.errors import MissingInputError, Phi3kError, UnavailableError
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.recipe.data import FetchSection

TOTAL_TIMEOUTS = 5
"""A whole download may take this many times `timeout_seconds`."""

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0  # a server that asks for more is left to the next run
_DIGITS_OF_SECONDS = 18  # of a Retry-After header: more than the longest wait has in any case

_USER_AGENT = f"phi3k/{importlib.metadata.version('phi3k')}"

_LARGEST_PORT = 65535

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

# Bodies of these types are pages about a picture, not the picture. Anything else is recognised by its bytes.
_NEVER_A_PICTURE = ("text/", "application/json", "application/xml", "application/xhtml", "video/", "audio/")


class _AttemptError(Exception):
    """One attempt at a URL failed; `wait_seconds` is what the server asked for before the next."""

    def __init__(self, failure: Failure, wait_seconds: float | None = None) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.wait_seconds = wait_seconds


@dataclass
class _Host:
    """A host that asked to wait: no request goes to it before then."""

    not_before: float = 0.0


def fetch_pictures(
    urls: Iterable[str],
    section: FetchSection,
    store: Store,
    verifier: PictureVerifier,
    *,
    known_failures: Mapping[str, Failure] | None = None,
    progress: ProgressCallback | None = None,
    permitted: Callable[[IPAddress], bool] | None = None,
) -> dict[str, Picture | Failure]:
    """Fetch each URL into `store`, unless it is there already; one bad picture never stops the others.

    Args:
        urls: Each is fetched once, however often it occurs.
        section: Concurrency, time-outs, attempts and caps.
        store: Remembers where each URL led, so that an interrupted fetch continues where it was.
        verifier: Decides whether a body is a usable picture.
        known_failures: URLs that are known to fail permanently: not requested again.
        progress: Called in this thread after each URL; what it raises ends the fetch.
        permitted: Which addresses may be connected to; None: public ones, or all with `private_addresses`.

    Raises:
        StorageError: the store can't be written.
        MissingInputError: the trusted certificates that the environment names can't be read.
    """
    wanted = list(dict.fromkeys(urls))
    known = known_failures or {}
    if permitted is None:
        permitted = (lambda _: True) if section.private_addresses else is_public

    async def fetch_all() -> dict[str, Picture | Failure]:
        async with _Fetcher(section, store, verifier, permitted) as fetcher:
            return await fetcher.run(wanted, known, progress)

    return asyncio.run(fetch_all()) if wanted else {}


class _Fetcher:
    """The connections and limits of one fetch."""

    def __init__(
        self, section: FetchSection, store: Store, verifier: PictureVerifier, permitted: Callable[[IPAddress], bool]
    ) -> None:
        self._section = section
        self._store = store
        self._verifier = verifier
        self._hosts: dict[str, _Host] = {}
        self._resources = contextlib.AsyncExitStack()
        try:
            self._tls = httpx.create_ssl_context()
        except OSError as error:
            raise MissingInputError(
                certificates_problem() or f"no trusted certificates can be read: {error}"
            ) from error
        self._backend = GuardedBackend(permitted)
        self._direct = httpcore.AsyncConnectionPool(
            ssl_context=self._tls, max_connections=section.concurrency, network_backend=self._backend
        )
        self._proxies: dict[str, httpcore.AsyncConnectionPool] = {}

    async def __aenter__(self) -> Self:
        await self._resources.enter_async_context(self._direct)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def run(
        self, urls: list[str], known: Mapping[str, Failure], progress: ProgressCallback | None
    ) -> dict[str, Picture | Failure]:
        """Every URL through `concurrency` workers."""
        results: dict[str, Picture | Failure] = {}
        waiting = iter(urls)
        failed = 0

        async def work() -> None:
            nonlocal failed
            for url in waiting:
                results[url] = known[url] if url in known else await self._fetch(url)
                failed += isinstance(results[url], Failure)
                if progress is not None:
                    progress(Progress("pictures", len(results), len(urls), failed))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._section.concurrency, len(urls))):
                    workers.create_task(work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the others only followed it
        return results

    async def _fetch(self, url: str) -> Picture | Failure:
        try:
            return await self._tried(url)
        except Phi3kError:
            raise
        except Exception as error:  # the boundary: whatever one server's answer leads to is that URL's failure
            return _failed("broken_response", f"{url}: {type(error).__name__}: {error}", transient=True).failure

    async def _tried(self, url: str) -> Picture | Failure:
        """The picture, after at most as many attempts as the recipe allows."""
        stored = await asyncio.to_thread(self._from_store, url)
        if stored is not None:
            return stored
        attempt = 0
        while True:
            attempt += 1
            try:
                body = await self._attempt(url)
            except _AttemptError as failed:
                wait = self._wait_seconds(attempt, failed.wait_seconds)
                if wait is None or attempt == self._section.attempts or not failed.failure.transient:
                    return failed.failure
                if failed.wait_seconds is not None:
                    self._host(url).not_before = time.monotonic() + wait
                await asyncio.sleep(wait)
            else:
                return await asyncio.to_thread(self._keep, url, body)

    def _from_store(self, url: str) -> Picture | Failure | None:
        fact = self._store.urls.get(url)
        if fact is None or not self._store.path(str(fact["sha256"])).exists():
            return None
        return self._verifier.stored(str(fact["sha256"]))

    def _keep(self, url: str, body: bytes) -> Picture | Failure:
        """Verify before storing: what is not a picture leaves nothing behind."""
        result = self._verifier.body(body)
        if isinstance(result, Picture):
            self._store.put(body)
            self._store.urls.put(url, {"url": url, "sha256": result.sha256})
        return result

    @staticmethod
    def _wait_seconds(attempt: int, asked: float | None) -> float | None:
        """Exponential back-off with full jitter after attempt 1, 2 ...; on top of what the server asked for.

        None when the server asked for too long a wait.
        """
        backoff = random.uniform(0, min(_FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS))
        if asked is None:
            return backoff
        return asked + backoff if asked <= _LONGEST_WAIT_SECONDS else None

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(httpx.URL(url).host, _Host())

    async def _attempt(self, url: str) -> bytes:
        """One attempt: the body behind `url`, after redirects, or _AttemptError."""
        limit = TOTAL_TIMEOUTS * self._section.timeout_seconds
        try:
            target = httpx.URL(url)
            pause = self._host(url).not_before - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            async with asyncio.timeout(limit):
                return await self._follow(target)
        except TimeoutError:
            raise _failed("timeout", f"{url}: not done after {limit:g} s", transient=True) from None
        except httpcore.TimeoutException as error:
            raise _failed("timeout", f"{url}: no answer ({type(error).__name__})", transient=True) from error
        except (httpcore.NetworkError, OSError) as error:  # OSError: errors of TLS in the middle
            raise _failed("connection", f"{url}: {error}", transient=True) from error
        except (httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise _failed("broken_response", f"{url}: {error}", transient=True) from error
        except ForbiddenAddressError as error:
            raise _failed("forbidden_address", f"{url}: {error} (data.fetch.private_addresses allows it)") from error
        except (httpx.InvalidURL, httpcore.UnsupportedProtocol, UnicodeError) as error:
            raise _failed("bad_url", f"{url}: {error}") from error

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(self._section.max_redirects + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise _failed("forbidden_scheme", f"{url} is not an http or https URL")
            if url.port is not None and not 0 < url.port <= _LARGEST_PORT:
                raise _failed("bad_url", f"{url} names port {url.port}, and ports are 1 to {_LARGEST_PORT}")
            async with self._get(url) as response:
                if response.status in _REDIRECTS:
                    location = httpx.Headers(response.headers).get("location")
                    if location is None:
                        raise _failed("bad_redirect", f"{url} redirects without an address")
                    url = url.join(location)
                    continue
                return await self._body(url, response)
        raise _failed("too_many_redirects", f"more than {self._section.max_redirects} redirects, the last to {url}")

    @contextlib.asynccontextmanager
    async def _get(self, url: httpx.URL) -> AsyncIterator[httpcore.Response]:
        seconds = self._section.timeout_seconds
        headers = [
            ("Host", url.netloc.decode("ascii")),
            ("User-Agent", _USER_AGENT),
            ("Accept", "image/*,*/*;q=0.5"),
            ("Accept-Encoding", "identity"),  # a compressed body could be far larger than its bytes
        ]
        timeouts = {"connect": seconds, "read": seconds, "write": seconds, "pool": None}
        pool = await self._pool(url)
        request = pool.stream("GET", _httpcore_url(url), headers=headers, extensions={"timeout": timeouts})
        async with request as response:
            yield response

    async def _pool(self, url: httpx.URL) -> httpcore.AsyncConnectionPool:
        """Direct connections, or those through the proxy that the environment names for this URL."""
        address = urllib.request.getproxies().get(url.scheme)
        if address is None or urllib.request.proxy_bypass(url.host):
            return self._direct
        await self._backend.check_before_proxy(url.host, url.port or 0)
        if address not in self._proxies:
            self._proxies[address] = await self._resources.enter_async_context(self._proxy_pool(address))
        return self._proxies[address]

    def _proxy_pool(self, address: str) -> httpcore.AsyncConnectionPool:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        if proxy.url.scheme not in ("http", "https"):
            raise UnavailableError(f"the environment names the proxy {proxy.url}, and only HTTP proxies are supported")
        return httpcore.AsyncHTTPProxy(
            _httpcore_url(proxy.url),
            proxy_auth=proxy.raw_auth,
            ssl_context=self._tls,
            max_connections=self._section.concurrency,
        )

    async def _body(self, url: httpx.URL, response: httpcore.Response) -> bytes:
        headers = httpx.Headers(response.headers)
        if response.status != 200:
            transient = response.status in _TRANSIENT_STATUS
            failure = Failure(f"http_{response.status}", f"{url}: HTTP status {response.status}", transient)
            raise _AttemptError(failure, _retry_after(headers.get("retry-after")) if transient else None)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise _failed(
                "wrong_type", f"{url} is sent as {encoding[:100]!r}, though only the picture as it is was asked for"
            )
        kind = headers.get("content-type", "").strip().lower()
        if kind.startswith(_NEVER_A_PICTURE):
            raise _failed("wrong_type", f"{url} is {kind[:100]}, not a picture")
        body = bytearray()
        try:
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > self._section.max_bytes:
                    raise _failed(
                        "too_many_bytes", f"{url} is larger than data.fetch.max_bytes = {self._section.max_bytes:,}"
                    )
        except (httpcore.RemoteProtocolError, httpcore.ReadError) as error:
            raise _failed(
                "truncated", f"{url}: the body ended after {len(body):,} bytes: {error}", transient=True
            ) from error
        return bytes(body)


def _failed(reason: str, detail: str, *, transient: bool = False) -> _AttemptError:
    return _AttemptError(Failure(reason, shortened(detail), transient))


def _httpcore_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); None: neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_DIGITS_OF_SECONDS])
    try:
        when = email.utils.parsedate_to_datetime(text)
        # A date without a known zone (-0000) counts as UTC, which HTTP prescribes.
        seconds = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):  # what email's parser raises for odd dates and zones
        return None
    return max(0.0, seconds)
