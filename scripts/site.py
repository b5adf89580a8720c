"""Build the documentation site from the pages of the checkout: site.py ZENSICAL DIRECTORY.

The README becomes the first page. Links between pages are followed by Zensical, which fails at one that leads nowhere;
a link to any other file of the checkout becomes the path of that file, since the site has pages only. What belongs to
an item of a numbered list is indented by three spaces in the pages, and by four for Zensical.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
# Pages outside docs, by their path in the checkout, with their names on the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "charts/phi3k/README.md": "chart-values.md",
}
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\])\((?P<place>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def names(checkout: Path) -> dict[Path, str]:
    """What is on the site: files of the checkout by their path, with their path on the site."""
    docs = checkout / "docs"
    inside = {path: str(path.relative_to(docs)) for path in sorted(docs.rglob("*")) if path.is_file()}
    return {**inside, **{checkout / path: name for path, name in ELSEWHERE.items()}}


def page(path: Path, pages: dict[Path, str], checkout: Path) -> str:
    """The text of a page with its links as they have to be on the site."""

    def link(found: re.Match[str]) -> str:
        place, anchor = found["place"], found["anchor"] or ""
        if not place or "://" in place:
            return found[0]
        target = Path(os.path.normpath(path.parent / place))
        if target not in pages:
            # One that leads nowhere stays as it is, for Zensical to find.
            return f"{found['text'].strip('[]')} (`{target.relative_to(checkout)}`)" if target.exists() else found[0]
        return f"{found['text']}({os.path.relpath(pages[target], Path(pages[path]).parent)}{anchor})"

    text = path.read_text(encoding="utf-8")
    parts, position = [], 0
    for fence in FENCE.finditer(text):
        code = re.sub("^", " ", fence[0], flags=re.MULTILINE) if fence[0].startswith("   ") else fence[0]
        parts += [LINK.sub(link, indented(text[position : fence.start()])), code]
        position = fence.end()
    return "".join([*parts, LINK.sub(link, indented(text[position:]))])


def indented(text: str) -> str:
    """Text whose lines inside a numbered list have the four spaces that Zensical wants."""
    return re.sub(r"^ {3}(?=\S)", "    ", text, flags=re.MULTILINE)


def gather(checkout: Path, directory: Path) -> None:
    """Write the pages and their pictures into a directory, as Zensical reads them."""
    pages = names(checkout)
    for path, name in pages.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            place.write_text(page(path, pages, checkout), encoding="utf-8")
        else:
            shutil.copy(path, place)


def main() -> None:
    """Build the site anew; the exit code is Zensical's."""
    zensical, output = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        gather(CHECKOUT, Path(scratch) / "docs")
        shutil.copy(CHECKOUT / "zensical.toml", scratch)
        command = [Path(zensical).resolve(), "build", "--strict"]
        result = subprocess.run(
            command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        # It colours every letter of a line on its own, also where nobody sees colours.
        print(re.sub(r"\x1b\[[0-9;]*m", "", result.stdout), end="")
        if result.returncode:
            sys.exit(result.returncode)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(Path(scratch) / "site", output)
    print(f"the site is in {output}: open {output / 'index.html'}")


if __name__ == "__main__":
    main()
