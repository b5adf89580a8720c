"""What every section of a recipe has in common."""

import re

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One mapping of the recipe: unknown keys are errors, values are never coerced, nothing changes after loading."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def without_scheme(path: str | None) -> str | None:
    """The path itself.

    Raises:
        ValueError: it is an address, and paths are read from this disk only.
    """
    if path is not None and (found := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)):
        raise ValueError(
            f"is an address ({found[1]}://), and object stores and web servers are not read yet: download it and name "
            "the path, or give its id on the hub"
        )
    return path
