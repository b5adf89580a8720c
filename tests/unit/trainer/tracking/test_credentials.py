"""A hub token goes over plain http only where nobody else listens."""

import pytest

from phi3k_trainer.credentials import refuse_hub_token_in_clear
from phi3k_trainer.errors import PermissionDeniedError

TOKEN = "hf_abcdefgh1234"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("PHI3K_PLAIN_HTTP", raising=False)


def test_a_token_does_not_go_to_a_mirror_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    with pytest.raises(PermissionDeniedError, match=r"HF_ENDPOINT.*http://hub\.example.*PHI3K_PLAIN_HTTP=1") as refusal:
        refuse_hub_token_in_clear()
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize("endpoint", ["https://hub.example", "http://127.0.0.1:8080", "http://hub.tools.svc", ""])
def test_a_token_goes_where_it_is_safe(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    refuse_hub_token_in_clear()


def test_the_user_can_trust_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setenv("PHI3K_PLAIN_HTTP", "1")
    refuse_hub_token_in_clear()
