"""The documentation site has every page, with links that lead from page to page. `make site` builds it."""

import runpy
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(CHECKOUT / "scripts" / "site.py"))
NAV = tomllib.loads((CHECKOUT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]


def written(checkout: Path, **pages: str) -> Path:
    """A checkout with these pages in docs, and all the pages elsewhere."""
    for name in SCRIPT["ELSEWHERE"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(f"# {name}\n", encoding="utf-8")
    for name, text in pages.items():
        (checkout / "docs" / f"{name}.md").parent.mkdir(exist_ok=True)
        (checkout / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    return checkout


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [
        name for part in NAV for names in part.values() for name in ([names] if isinstance(names, str) else names)
    ]
    pages = [name for name in SCRIPT["names"](CHECKOUT).values() if name.endswith(".md")]
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[Other](other.md#part)", "[Other](other.md#part)"),
        ("[Values](../charts/phi3k/README.md)", "[Values](chart-values.md)"),
        ("[Start](../README.md#install)", "[Start](index.md#install)"),
        ("[Below](#below)", "[Below](#below)"),
        ("[Hub](https://hub.example/x)", "[Hub](https://hub.example/x)"),
        ("[The rules](../charts/rules.yaml)", "The rules (`charts/rules.yaml`)"),
        ("[Nowhere](../charts/none.yaml)", "[Nowhere](../charts/none.yaml)"),
        ("```text\n[Other](../README.md)\n```", "```text\n[Other](../README.md)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site(tmp_path: Path, link: str, shown: str) -> None:
    checkout = written(tmp_path / "checkout", page=f"# Page\n\n{link}\n", other="# Other\n")
    (checkout / "charts/rules.yaml").write_text("rules: []\n", encoding="utf-8")
    SCRIPT["gather"](checkout, tmp_path / "site")
    assert (tmp_path / "site/page.md").read_text(encoding="utf-8") == f"# Page\n\n{shown}\n"


def test_the_readme_is_the_first_page(tmp_path: Path) -> None:
    checkout = written(tmp_path / "checkout", page="# Page\n")
    (checkout / "README.md").write_text("[Page](docs/page.md) ![Picture](docs/images/a.png)\n", encoding="utf-8")
    (checkout / "docs/images").mkdir()
    (checkout / "docs/images/a.png").write_bytes(b"picture")
    SCRIPT["gather"](checkout, tmp_path / "site")
    assert (tmp_path / "site/index.md").read_text(encoding="utf-8") == "[Page](page.md) ![Picture](images/a.png)\n"
    assert (tmp_path / "site/images/a.png").read_bytes() == b"picture"


def test_what_belongs_to_a_numbered_item_is_indented_by_four_spaces(tmp_path: Path) -> None:
    checkout = written(tmp_path / "checkout", page="1. One\n   more\n   ```sh\n   a\n     b\n   ```\n")
    SCRIPT["gather"](checkout, tmp_path / "site")
    shown = "1. One\n    more\n    ```sh\n    a\n      b\n    ```\n"
    assert (tmp_path / "site/page.md").read_text(encoding="utf-8") == shown
