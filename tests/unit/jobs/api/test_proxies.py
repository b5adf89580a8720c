"""NO_PROXY is read as Go reads it: golang.org/x/net/http/httpproxy, whose tests these rows follow."""

import pytest

from phi3k_jobs.api.proxies import is_direct


@pytest.mark.parametrize(
    ("host", "excluded", "direct"),
    [
        ("localhost", "", True),
        ("127.0.0.7", "", True),
        ("::1", "", True),
        ("api.example", "", False),
        ("api.example", "*", True),
        ("api.example", "example", True),
        ("api.example", ".example", True),
        ("api.example", "*.example", True),
        ("example", "*.example", False),
        ("example", ".example", False),
        ("example", "example", True),
        ("notexample", "example", False),
        ("API.Example", "api.EXAMPLE", True),
        ("api.example", "api.example:6443", True),
        ("api.example", "api.example:443", False),
        ("api.example", " other , api.example ", True),
        ("192.0.2.10", "192.0.2.10", True),
        ("192.0.2.10", "192.0.2.0/24", True),
        ("192.0.2.10", "192.0.2.10:6443", True),
        ("192.0.2.10", "192.0.2.10:443", False),
        ("192.0.2.10", "192.0.2", False),
        ("192.0.2.10", ".10", False),
        ("192.0.2.10", "198.51.100.0/24", False),
        ("192.0.2.10", "::ffff:192.0.2.10", True),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "[2001:db8::1]:6443", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("api.example", "192.0.2.0/24", False),
        ("api.example", ",, :6443,/,", False),
    ],
)
def test_no_proxy(host: str, excluded: str, direct: bool) -> None:
    assert is_direct(host, 6443, excluded) == direct
