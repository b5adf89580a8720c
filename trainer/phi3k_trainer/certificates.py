"""The trusted certificates that the environment names, where they can't be used."""

import os
import ssl
from pathlib import Path

FILE_VARIABLE, DIRECTORY_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"


def certificates_problem() -> str | None:
    """Return which certificates that the environment names can't be used; None where all that it names can."""
    for variable in (FILE_VARIABLE, DIRECTORY_VARIABLE):
        named = os.environ.get(variable)
        if named and not Path(named).exists():
            return f"{variable} names {named}, which is not there: without it no certificate can be trusted"
    file = os.environ.get(FILE_VARIABLE)
    if not file:
        return None
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        return f"the certificates in {file} ({FILE_VARIABLE}) can't be read: {error}"
    return None
