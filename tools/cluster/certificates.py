"""Keys, certificates and kubeconfigs, made with openssl. One authority signs for servers and clients alike."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .sandbox import run

DAYS = "30"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class KeyPair:
    """The two PEM files of one identity."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority with its files in `directory`."""

    directory: Path

    @property
    def pair(self) -> KeyPair:
        """Its own certificate and key."""
        return KeyPair(self.directory / "ca.crt", self.directory / "ca.key")

    def issue(self, common_name: str, organisation: str | None = None, names: Sequence[str] = ()) -> KeyPair:
        """A new key pair. In Kubernetes the common name is the user and the organisation the group.

        `names` are the subject's alternative names in openssl's words, such as `IP:10.0.0.1` and `DNS:localhost`.
        """
        file = common_name.replace(":", "-")
        pair = KeyPair(self.directory / f"{file}.crt", self.directory / f"{file}.key")
        subject = f"/CN={common_name}" if organisation is None else f"/O={organisation}/CN={common_name}"
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if names:
            extensions.append(f"subjectAltName={','.join(names)}")
        signer = ["-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key)]
        output = ["-keyout", str(pair.key), "-out", str(pair.certificate)]
        added = [word for extension in extensions for word in ("-addext", extension)]
        run(["openssl", "req", "-x509", "-days", DAYS, *NEW_KEY, "-subj", subject, *signer, *output, *added])
        return pair

    def write_kubeconfig(self, path: Path, server: str, user: KeyPair) -> Path:
        """A kubeconfig with everything inline, readable by its owner only."""
        cluster = {"server": server, "certificate-authority-data": encoded(self.pair.certificate)}
        credentials = {"client-certificate-data": encoded(user.certificate), "client-key-data": encoded(user.key)}
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "phi3k-test", "cluster": cluster}],
            "users": [{"name": user.certificate.stem, "user": credentials}],
            "contexts": [{"name": "phi3k-test", "context": {"cluster": "phi3k-test", "user": user.certificate.stem}}],
            "current-context": "phi3k-test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(configuration, indent=1))
        return path


def create_authority(directory: Path) -> Authority:
    """A new authority in a new directory that only its owner may enter."""
    directory.mkdir(mode=0o700)
    authority = Authority(directory)
    output = ["-keyout", str(authority.pair.key), "-out", str(authority.pair.certificate)]
    run(["openssl", "req", "-x509", "-days", DAYS, *NEW_KEY, "-subj", "/CN=phi3k test cluster", *output])
    return authority


def encoded(file: Path) -> str:
    """A file as kubeconfigs hold it."""
    return b64encode(file.read_bytes()).decode()
