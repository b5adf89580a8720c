"""Fetching against a server that does everything wrong, over real sockets."""

import hashlib
import ipaddress
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phi3k_trainer.data.pictures.addresses import is_public
from phi3k_trainer.data.pictures.fetching import fetch_pictures
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.pictures.verifying import Failure, Picture, PictureVerifier
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.progress import Progress
from phi3k_trainer.recipe.data import FetchSection
from tests.faults.hostile_server import HostileServer, picture

LIMITS = FetchSection(timeout_seconds=0.4, attempts=2, max_bytes=300_000, max_redirects=3, private_addresses=True)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer().running() as running:
        yield running


def fetch(urls: list[str], store: Path, section: FetchSection = LIMITS, **options: object) -> dict[str, object]:
    kept = Store(store)
    verifier = PictureVerifier(kept, max_pixels=1_000_000, num_crops=4)
    return fetch_pictures(urls, section, kept, verifier, **options)


def one(server: HostileServer, path: str, store: Path, section: FetchSection = LIMITS) -> Picture | Failure:
    url = server.url(path)
    return fetch([url], store, section)[url]


def test_a_good_picture_is_stored_under_its_hash_with_its_size(server: HostileServer, tmp_path: Path) -> None:
    found = one(server, "good/7", tmp_path)
    assert isinstance(found, Picture)
    assert (found.width, found.height) == (40, 40)
    assert Store(tmp_path).path(found.sha256).read_bytes() == picture(7)


def test_a_picture_without_content_type_and_file_ending_is_told_by_its_bytes(
    server: HostileServer, tmp_path: Path
) -> None:
    assert isinstance(one(server, "no-type", tmp_path), Picture)


@pytest.mark.parametrize(
    ("path", "reason", "transient", "requests"),
    [
        ("silent", "timeout", True, 2),
        ("drip-body", "timeout", True, 2),
        ("drip-head", "timeout", True, 2),
        ("truncated", "truncated", True, 2),
        ("status/500", "http_500", True, 2),
        ("huge-head", "broken_response", True, 2),
        ("nonsense", "broken_response", True, 2),
        ("status/404", "http_404", False, 1),
        ("status/403", "http_403", False, 1),
        ("page", "wrong_type", False, 1),
        ("page-that-says-png", "unsupported_format", False, 1),
        ("truncated-inside", "unreadable", False, 1),
        ("endless", "too_many_bytes", False, 1),
        ("busy-for-an-hour", "http_429", True, 1),
        ("redirect-to/file:///etc/passwd", "forbidden_scheme", False, 1),
        ("redirect-to/ftp://127.0.0.1/x.png", "forbidden_scheme", False, 1),
    ],
)
def test_each_way_of_going_wrong_has_its_reason_and_only_bad_luck_is_tried_again(
    server: HostileServer, tmp_path: Path, path: str, reason: str, transient: bool, requests: int
) -> None:
    found = one(server, path, tmp_path)
    assert isinstance(found, Failure)
    assert (found.reason, found.transient, server.requests[path]) == (reason, transient, requests)


@pytest.mark.parametrize("path", ["endless", "page", "truncated", "truncated-inside", "page-that-says-png"])
def test_a_failure_leaves_nothing_in_the_store(server: HostileServer, tmp_path: Path, path: str) -> None:
    one(server, path, tmp_path / "store")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_redirect_loop_ends_after_max_redirects(server: HostileServer, tmp_path: Path) -> None:
    found = one(server, "redirects/0", tmp_path)
    assert isinstance(found, Failure)
    assert found.reason == "too_many_redirects"
    assert sum(server.requests.values()) == LIMITS.max_redirects + 1


def test_a_relative_redirect_is_followed(server: HostileServer, tmp_path: Path) -> None:
    assert isinstance(one(server, "redirect-to//good/1", tmp_path), Picture)


def test_a_slow_drip_takes_no_longer_than_the_total_bound(server: HostileServer, tmp_path: Path) -> None:
    started = time.monotonic()
    one(server, "drip-body", tmp_path, LIMITS.model_copy(update={"attempts": 1, "timeout_seconds": 0.2}))
    assert 0.9 < time.monotonic() - started < 2.0  # 5 x 0.2 s, though a byte came every 0.05 s


def test_a_busy_server_is_asked_again_after_the_time_it_named(server: HostileServer, tmp_path: Path) -> None:
    assert isinstance(one(server, "busy-once", tmp_path), Picture)
    first, second = server.times["busy-once"]
    assert second - first >= 1.0


@pytest.mark.parametrize(
    "value",
    [
        "\u00b2".encode("latin-1"),
        "\u0663".encode(),
        b"9" * 5000,
        b"-1",
        b"1e9",
        b"soon",
        b"",
        b"Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        b"Mon, 01 Jan 2024 00:00:00 +9999",
        b"Mon, 99 Jan 99999999 00:00:00 GMT",
        b"Mon, 01 Jan 0001 00:00:00 -0000",
        b"Mon, 01 Jan 2024 00:00:00",
    ],
)
def test_a_retry_after_that_is_no_time_to_wait_costs_one_url_at_most(
    server: HostileServer, tmp_path: Path, value: bytes
) -> None:
    odd, good = server.url(f"retry-after/{value.hex()}"), server.url("good/1")
    found = fetch([odd, good], tmp_path)
    assert isinstance(found[good], Picture)
    assert isinstance(found[odd], Picture) or found[odd].reason == "http_503"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:99999/x.png\r\n\r\n", "bad_url"),
        (b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:0/x.png\r\n\r\n", "bad_url"),
        (b"HTTP/1.1 302 X\r\nLocation: http://[::bad/\r\n\r\n", "bad_url"),
        (b"HTTP/1.1 302 X\r\nLocation: http://x:80:80/\r\n\r\n", "bad_url"),
        (b"HTTP/1.1 302 X\r\nLocation: \xff\xfe\r\n\r\n", None),
        (b"HTTP/1.1 302 X\r\nLocation: javascript:alert(1)\r\n\r\n", "forbidden_scheme"),
        (b"HTTP/1.1 302 X\r\nLocation: http://x/" + b"a" * 70_000 + b"\r\n\r\n", None),
        (b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8bx", "wrong_type"),
        (b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n", None),
        (b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\nx", None),
        (b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", None),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        (b"HTTP/1.1 200 X\r\nContent-Type: \xff\xfe\r\nContent-Length: 1\r\n\r\nx", "unsupported_format"),
        (b"HTTP/1.1 999999 X\r\n\r\n", None),
    ],
)
def test_an_odd_answer_costs_its_own_url_and_no_other(
    server: HostileServer, tmp_path: Path, head: bytes, reason: str | None
) -> None:
    odd, good = server.url(f"head/{head.hex()}"), server.url("good/1")
    found = fetch([odd, good], tmp_path, LIMITS.model_copy(update={"attempts": 1}))
    assert isinstance(found[good], Picture)
    assert isinstance(found[odd], Failure)
    assert reason in (None, found[odd].reason)
    assert len(found[odd].detail) < 600


def test_an_answer_that_meets_a_defect_is_the_failure_of_its_url(server: HostileServer, tmp_path: Path) -> None:
    odd, good = server.url("good/1", "127.0.0.2"), server.url("good/1")

    def broken(address: object) -> bool:
        if str(address) == "127.0.0.2":
            raise LookupError("nobody expected this")
        return True

    found = fetch([odd, good], tmp_path, permitted=broken)
    assert isinstance(found[good], Picture)
    assert isinstance(found[odd], Failure)
    assert "LookupError: nobody expected this" in found[odd].detail


def test_a_body_that_broke_off_is_fetched_again(server: HostileServer, tmp_path: Path) -> None:
    assert isinstance(one(server, "truncated-once", tmp_path), Picture)


def test_one_bad_picture_does_not_stop_the_others(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"good/{number}") for number in range(30)] + [server.url("silent"), server.url("status/404")]
    found = fetch(urls, tmp_path)
    assert sum(isinstance(result, Picture) for result in found.values()) == 30


def test_trusted_certificates_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(MissingInputError, match="SSL_CERT_FILE names /nowhere/ca"):
        fetch(["https://example.org/a.png"], tmp_path)


def test_never_more_than_concurrency_requests_are_under_way(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"slow-good/{number}") for number in range(20)]
    fetch(urls, tmp_path, LIMITS.model_copy(update={"concurrency": 3, "timeout_seconds": 5.0}))
    assert server.open_at_most == 3


def test_a_url_is_fetched_once_however_often_it_occurs(server: HostileServer, tmp_path: Path) -> None:
    fetch([server.url("good/1")] * 10, tmp_path)
    assert server.requests["good/1"] == 1


def until_quiet(server: HostileServer) -> None:
    """Wait out the requests that were under way: the server counts one when it reads it."""
    seen = -1
    while seen != (seen := sum(server.requests.values())):
        time.sleep(0.3)


def test_an_interrupted_fetch_goes_on_where_it_was(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"good/{number}") for number in range(20)]

    def interrupt(progress: Progress) -> None:
        if progress.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(urls, tmp_path, LIMITS.model_copy(update={"concurrency": 2}), progress=interrupt)
    until_quiet(server)
    server.requests.clear()
    found = fetch(urls, tmp_path)
    assert all(isinstance(result, Picture) for result in found.values())
    assert 0 < sum(server.requests.values()) <= 12


def test_a_picture_lost_from_the_store_is_fetched_again(server: HostileServer, tmp_path: Path) -> None:
    found = one(server, "good/1", tmp_path)
    assert isinstance(found, Picture)
    Store(tmp_path).path(found.sha256).unlink()
    assert isinstance(one(server, "good/1", tmp_path), Picture)
    assert server.requests["good/1"] == 2


def test_a_known_permanent_failure_is_not_asked_again(server: HostileServer, tmp_path: Path) -> None:
    url = server.url("status/404")
    known = {url: Failure("http_404", "as before")}
    assert fetch([url], tmp_path, known_failures=known) == known
    assert server.requests["status/404"] == 0


def test_progress_counts_every_url_and_the_failures(server: HostileServer, tmp_path: Path) -> None:
    states: list[Progress] = []
    urls = [server.url("good/1"), server.url("good/2"), server.url("status/404")]
    fetch(urls, tmp_path, progress=states.append)
    assert [state.done for state in states] == [1, 2, 3]
    assert (states[-1].total, states[-1].failed) == (3, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
def test_private_addresses_are_refused_however_they_are_written(
    server: HostileServer, tmp_path: Path, host: str
) -> None:
    url = server.url("good/1", host)
    found = fetch([url], tmp_path, LIMITS.model_copy(update={"private_addresses": False}))[url]
    assert isinstance(found, Failure)
    assert found.reason == "forbidden_address"
    assert not server.requests


def test_a_redirect_to_a_forbidden_address_is_refused(server: HostileServer, tmp_path: Path) -> None:
    def all_but_the_second(address: object) -> bool:
        return str(address) != "127.0.0.2"

    url = server.url(f"redirect-to/{server.url('good/1', '127.0.0.2')}")
    found = fetch([url], tmp_path, permitted=all_but_the_second)[url]
    assert isinstance(found, Failure)
    assert found.reason == "forbidden_address"
    assert server.requests["good/1"] == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("172.16.5.5", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::1", False),
        ("::", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("168.63.129.16", False),
        ("168.63.129.17", True),
        ("0.1.2.3", False),
        ("192.0.0.9", False),
        ("198.18.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_public_means_reachable_from_the_whole_internet(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_proxy_of_the_environment_is_used(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    url = "http://pictures.invalid/good/1"
    fetch([url], tmp_path)
    assert list(server.requests) == [url]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1.", "localhost.", "x.localhost", "0x7f.1.", "127.1.", "[::1%25lo]", "[fe80::1%25eth0]", "127%2e0.0.1"],
)
def test_a_proxy_is_not_asked_for_another_spelling_of_an_address(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    url = f"http://{host}/good/1"
    found = fetch([url], tmp_path, LIMITS.model_copy(update={"private_addresses": False}))[url]
    assert isinstance(found, Failure)
    assert found.reason in ("forbidden_address", "bad_url")
    assert not server.requests


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for the name localhost, trusted through SSL_CERT_FILE."""
    files = {"-keyout": str(tmp_path / "key.pem"), "-out": str(tmp_path / "certificate.pem")}
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    arguments = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", *names]
    command = ["openssl", "req", *arguments, *(word for pair in files.items() for word in pair)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", files["-out"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["-out"], files["-keyout"])
    return context


def test_tls_is_verified_for_the_name_though_the_connection_goes_to_the_checked_address(
    certificate: ssl.SSLContext, tmp_path: Path
) -> None:
    with HostileServer(certificate).running() as server:
        good, bad = server.url("good/1", "localhost"), server.url("good/1", "127.0.0.1")
        found = fetch([good, bad], tmp_path / "store")
    assert isinstance(found[good], Picture)
    assert isinstance(found[bad], Failure)
    assert "certificate" in found[bad].detail


def test_a_url_that_is_none_is_a_failure_of_that_row(tmp_path: Path) -> None:
    ports = [f"http://127.0.0.1:{port}/x" for port in (0, 65536, 99999, -1, "x")]
    found = fetch(["http://", "http://[::bad/x.png", "http://a..b/x", "http://x/\ud800", *ports], tmp_path)
    assert all(isinstance(result, Failure) for result in found.values())


PROCESS = """
import sys
from pathlib import Path
from phi3k_trainer.data.pictures.fetching import fetch_pictures
from phi3k_trainer.data.pictures.verifying import Picture, PictureVerifier
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.recipe.data import FetchSection
store = Store(Path(sys.argv[1]))
verifier = PictureVerifier(store, max_pixels=1_000_000, num_crops=4)
found = fetch_pictures(sys.argv[2:], FetchSection(private_addresses=True, concurrency=4), store, verifier)
sys.exit(not all(isinstance(result, Picture) for result in found.values()))
"""


def test_two_processes_share_one_store(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"slow-good/{number}") for number in range(40)]
    orders: list[Callable[[list[str]], list[str]]] = [sorted, lambda items: sorted(items, reverse=True)]
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), *order(urls)]) for order in orders]
    assert [process.wait(60) for process in processes] == [0, 0]
    objects = [file for file in (tmp_path / "objects").rglob("*") if file.is_file()]
    assert len(objects) == 40  # each whole, under its hash, and no temporary file
    assert sum(server.requests.values()) < 80  # what one had fetched the other took over


def test_a_killed_fetch_leaves_only_whole_pictures_and_the_next_one_finishes(
    server: HostileServer, tmp_path: Path
) -> None:
    urls = [server.url(f"slow-good/{number}") for number in range(60)]
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), *urls])
    while sum(server.requests.values()) < 30:
        time.sleep(0.01)
    process.kill()
    process.wait(10)
    objects = [file for file in (tmp_path / "objects").rglob("*") if len(file.name) == 64]
    assert objects
    assert all(hashlib.sha256(file.read_bytes()).hexdigest() == file.name for file in objects)
    noted = list((tmp_path / "urls").rglob("*.json"))
    server.requests.clear()
    assert all(isinstance(result, Picture) for result in fetch(urls, tmp_path).values())
    assert sum(server.requests.values()) == 60 - len(noted)
