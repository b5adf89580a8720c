"""The pages of the documentation, and the blocks of code in them.

A block of commands (```sh) is run by tests/end_to_end/test_docs_commands.py, unless the comment above it says
otherwise: `<!-- needs: cluster -->`, `<!-- needs: gpu -->` or `<!-- run by: FILE -->`, with `;` between several.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "charts/phi3k/README.md"]

FENCE = re.compile(
    r"^(?: *<!-- (?P<marks>[^\n]+) -->\n)?"
    r"(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of code, with what the comment above it says: pairs such as ("needs", "cluster")."""

    page: Path
    language: str
    code: str
    marks: tuple[tuple[str, str], ...]

    @property
    def lines(self) -> list[str]:
        """Its lines without indentation, those that a backslash continues as one."""
        return [line.strip() for line in re.sub(r"\\\n\s*", "", self.code).splitlines() if line.strip()]

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}: {self.lines[0]}"


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        marks = tuple(_pair(clause) for clause in (found["marks"] or "").split(";") if clause)
        yield Block(page, found["language"], found["code"], marks)


def _pair(clause: str) -> tuple[str, str]:
    name, _, value = clause.partition(":")
    return name.strip(), value.strip()
