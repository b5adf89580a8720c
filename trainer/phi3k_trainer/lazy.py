"""Names that a package exports, whose modules are imported only when a name is used."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose public names are defined elsewhere: `module` or `module:name`.

    The form `module:name` is for a name that is another one where it is defined.
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, inside = homes[name].partition(":")
        return getattr(import_module(f"{package}.{module}"), inside or name)

    return find
