"""The trusted certificates that the environment names, where they can't be used."""

import os
from pathlib import Path

# From here HTTPS takes its trusted certificates, if one is set.
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def certificates_problem() -> str | None:
    """Return which certificates that the environment names can't be used; None where it names none."""
    for variable in VARIABLES:
        named = os.environ.get(variable)
        if named and not Path(named).exists():
            return f"{variable} names {named}, which is not there: without it no certificate can be trusted"
        if named:
            return f"the certificates in {named} ({variable}) can't be read"
    return None
