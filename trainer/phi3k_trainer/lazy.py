"""Names that a package offers without importing the modules they are in before somebody asks for them."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose public names are at home elsewhere: `module` or `module:name`.

    A name that is at home under another name says so, where a module of the package has the public one.
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, inside = homes[name].partition(":")
        return getattr(import_module(f"{package}.{module}"), inside or name)

    return find
