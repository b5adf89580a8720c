"""The public interface of the Python packages: a name that goes or changes is noticed here, before a user does."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .public_names import PACKAGES, public

HERE = Path(__file__).parent
HEAVY = ("torch", "transformers", "numpy", "pydantic", "yaml", "kubernetes", "rich", "PIL")


def test_every_public_name_has_the_signature_that_is_recorded() -> None:
    """A change on purpose: `python -m tests.unit.public_names > tests/unit/public_names.txt`, and the changelog."""
    now = "".join(f"[{package}]\n" + "".join(f"{line}\n" for line in lines) for package, lines in public().items())
    assert now == (HERE / "public_names.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_what_type_checkers_see_is_what_is_there(package: str) -> None:
    """They read the imports under TYPE_CHECKING; at run time the names come from a table."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == module.__all__
    for name, (home, inside) in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), inside)


def test_a_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="'phi3k_trainer' has no attribute 'nothing'"):
        getattr(importlib.import_module("phi3k_trainer"), "nothing")  # noqa: B009


def test_importing_the_packages_imports_nothing_heavy() -> None:
    script = (
        f"import json, sys, phi3k_trainer, phi3k_jobs; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []
