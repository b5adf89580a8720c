"""HTML in one file: escaped by construction, no script, no network, light and dark by the reader's preference."""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TypeGuard

from PIL import Image

VOID_TAGS = frozenset({"br", "hr", "img", "link", "meta"})
# A page may show what is inside it and nothing else, whatever text found its way in.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Markup that is safe to stand in a page as it is. Every other value is text and gets escaped."""

    __slots__ = ()


def escape(value: object) -> Html:
    """`value` as markup: `Html` stays as it is, anything else becomes escaped text."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """The parts one after the other, each escaped unless it is `Html`."""
    return Html(escape(separator).join(escape(part) for part in parts))


def element(tag: str, attributes: Mapping[str, object] | None = None, *content: object) -> Html:
    """One element. Attribute values and content are escaped; attributes that are None are left out."""
    written = "".join(
        f' {name}="{html.escape(str(value))}"' for name, value in (attributes or {}).items() if value is not None
    )
    if tag in VOID_TAGS:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(content)}</{tag}>")


@dataclass(frozen=True)
class Section:
    """A part of a page with its heading and, under it, a sentence of explanation."""

    heading: str
    body: Html
    note: str = ""


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """A whole document. `title` stands in the tab and on top, `subtitle` under it."""
    style = Html(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": CONTENT_POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, title),
        element("style", None, style),
    )
    header = element("header", None, element("h1", None, title), element("p", None, subtitle) if subtitle else Html())
    body = element("body", None, element("main", None, header, *(_section(section) for section in sections)))
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def _section(section: Section) -> Html:
    note = element("p", {"class": "note"}, section.note) if section.note else Html()
    return element("section", None, element("h2", None, section.heading), note, section.body)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table that scrolls sideways when it is wide. Numbers stand right-aligned; None is shown as a dash."""
    listed = list(rows)
    numeric = [any(_is_number(row[index]) for row in listed) for index in range(len(columns))]
    styles = ["number" if is_numeric else None for is_numeric in numeric]
    heads = (element("th", {"scope": "col", "class": style}, name) for name, style in zip(columns, styles, strict=True))
    head = element("tr", None, *heads)
    body = (element("tr", None, *map(_cell, row, styles)) for row in listed)
    return element(
        "div",
        {"class": "scroll", "tabindex": "0"},
        element("table", None, element("thead", None, head), element("tbody", None, *body)),
    )


def _cell(value: object, style: str | None) -> Html:
    return element("td", {"class": style}, "–" if value is None else _shown(value))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: float) -> str:
    """A number for people: four significant digits, thousands separated, exponents for the very large and small."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size != 0 and (size < 1e-3 or size >= 1e9):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if size >= 1000 else f"{value:.4g}"


def facts(values: Mapping[str, object]) -> Html:
    """Headline figures as a row of tiles: name and value."""
    tiles = (
        element("div", None, element("dt", None, name), element("dd", None, _shown(value)))
        for name, value in values.items()
    )
    return element("dl", {"class": "facts"}, *tiles)


def _shown(value: object) -> object:
    return number(value) if _is_number(value) else value


def thumbnail(source: Path | bytes | Image.Image, alt: str, *, edge: int = 96) -> Html:
    """A small copy of a picture, stored in the page itself; `edge` is the longer side in CSS pixels.

    Raises:
        PIL.UnidentifiedImageError: the bytes or the file are not a picture.
        OSError: the file can't be read.
    """
    if isinstance(source, Image.Image):
        small = source.copy()
    else:
        small = Image.open(BytesIO(source) if isinstance(source, bytes) else source)
    small.thumbnail((2 * edge, 2 * edge))  # twice the size, for screens with two pixels to a CSS pixel
    stored = BytesIO()
    small.convert("RGB").save(stored, "JPEG", quality=80)
    uri = f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode('ascii')}"
    scale = edge / max(small.size)
    width, height = (max(1, round(side * scale)) for side in small.size)
    return element("img", {"src": uri, "alt": alt, "width": width, "height": height, "loading": "lazy"})


def gallery(pictures: Iterable[tuple[Html, object]]) -> Html:
    """Pictures (from `thumbnail`) with a caption each, in a grid."""
    figures = (element("figure", None, picture, element("figcaption", None, caption)) for picture, caption in pictures)
    return element("div", {"class": "gallery"}, *figures)


def columns(*blocks: Html) -> Html:
    """Blocks beside each other where the window is wide enough."""
    return element("div", {"class": "columns"}, *(element("div", None, block) for block in blocks))
