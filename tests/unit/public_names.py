"""What the packages offer to people, as written in the sources. `python tests/unit/public_names.py` prints it all."""

import ast
import importlib
import inspect
import textwrap

PACKAGES = ("phi3k_trainer", "phi3k_jobs")
# Pages of their own say what these have.
OPAQUE = ("Recipe", "Cluster")


def described(package: str, name: str) -> str:
    """A public function with its signature, or a public class with the fields that it is made of."""
    found = getattr(importlib.import_module(package), name)
    if name in OPAQUE:
        return f"class {name}"
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(found))).body
    if isinstance(node, ast.FunctionDef):
        assert node.returns is not None
        return f"def {name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
    assert isinstance(node, ast.ClassDef)
    fields = [
        f"{field.target.id}: {ast.unparse(field.annotation)}"
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]
    return f"class {name}({', '.join(fields)})"


def public() -> dict[str, list[str]]:
    """The public names of each package, in the order of its `__all__`."""
    return {
        package: [described(package, name) for name in importlib.import_module(package).__all__] for package in PACKAGES
    }


if __name__ == "__main__":
    for package, lines in public().items():
        print(f"[{package}]", *lines, sep="\n")
