"""Reading from the API server while it starts: cheap enough to ask several times a second, unlike kubectl."""

import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

from .certificates import Authority, KeyPair


@dataclass(frozen=True)
class ApiReader:
    """GET requests with a client certificate, past any proxy."""

    server: str
    opener: OpenerDirector

    def is_ready(self) -> bool:
        """Whether the API server serves."""
        return self.get("/readyz") is not None

    def get(self, path: str) -> bytes | None:
        """The body of a good answer, or None."""
        try:
            with self.opener.open(f"{self.server}{path}", timeout=5) as response:
                body = response.read()
        except (URLError, OSError):
            return None
        return bytes(body)

    def status(self, path: str) -> dict[str, Any]:
        """The status of the object at `path`, empty if there is none."""
        body = self.get(path)
        status = {} if body is None else json.loads(body).get("status", {})
        assert isinstance(status, dict)
        return status

    def condition(self, path: str, kind: str) -> bool:
        """Whether the object at `path` has a condition of that type that is True."""
        conditions = self.status(path).get("conditions", [])
        return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def create_reader(server: str, authority: Authority, user: KeyPair) -> ApiReader:
    """A reader that trusts `authority` and is `user`."""
    context = ssl.create_default_context(cafile=str(authority.pair.certificate))
    context.load_cert_chain(user.certificate, user.key)
    return ApiReader(server, build_opener(ProxyHandler({}), HTTPSHandler(context=context)))
