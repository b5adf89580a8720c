from html.parser import HTMLParser

import pytest
from PIL import Image

from phi3k_trainer.page.html import Html, Section, element, facts, gallery, number, page, table, thumbnail

HOSTILE = "<script>alert('1')</script>\"&"


class Reader(HTMLParser):
    """Collects what a browser would see: the tags, the addresses they load from, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(document: str) -> Reader:
    reader = Reader()
    reader.feed(document)
    return reader


def test_text_is_escaped_wherever_it_stands() -> None:
    picture = thumbnail(Image.new("RGB", (8, 8)), HOSTILE)
    body = element(
        "div",
        {"title": HOSTILE},
        table([HOSTILE], [[HOSTILE]]),
        facts({HOSTILE: HOSTILE}),
        gallery([(picture, HOSTILE)]),
    )
    seen = read(page(HOSTILE, [Section(HOSTILE, body, HOSTILE)], subtitle=HOSTILE))
    assert "script" not in seen.tags
    assert seen.text.count(HOSTILE) == 10


def test_a_page_loads_nothing_from_outside() -> None:
    picture = thumbnail(Image.new("RGB", (8, 8)), "a square")
    document = page("A page", [Section("Pictures", picture)])
    assert all(address.startswith("data:") for address in read(document).addresses)
    assert "@import" not in document
    assert "url(" not in document


def test_a_page_has_colours_for_light_and_dark() -> None:
    light, dark = page("A page", []).split("@media (prefers-color-scheme: dark)")
    names = {line.split(":")[0].strip() for line in light.split(";") if line.strip().startswith("--")}
    assert {name for name in names if name not in dark} == set()


def test_a_thumbnail_keeps_the_shape_and_is_small() -> None:
    noise = Image.effect_noise((1200, 600), 90)
    picture = thumbnail(noise, "noise", edge=96)
    assert 'width="96" height="48"' in picture
    assert len(picture) < 40_000


def test_numbers_stand_right_aligned_and_a_missing_value_is_a_dash() -> None:
    written = table(["title", "price"], [["Red Dress", 1290.0], ["Blue Bag", None]])
    assert '<td class="number">1,290</td>' in written
    assert '<td class="number">–</td>' in written
    assert "<td>Red Dress</td>" in written


def test_markup_in_a_cell_stays_markup() -> None:
    assert "<td><b>bold</b></td>" in table(["a"], [[element("b", None, "bold")]])
    assert isinstance(element("b", None, "bold"), Html)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (3000, "3,000"),
        (1290.56, "1,290.6"),
        (0.97123, "0.9712"),
        (2e-4, "2e-4"),
        (-1.25e-5, "-1.25e-5"),
        (4.1e12, "4.1e12"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_for_people(value: float, written: str) -> None:
    assert number(value) == written
