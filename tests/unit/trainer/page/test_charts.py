import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.page.axes import Axis, fit_axis, linear_ticks, log_ticks
from phi3k_trainer.page.charts import MAX_POINTS, Series, Spread, bar_chart, histogram, line_chart, spread_chart
from phi3k_trainer.page.html import Html

FINITE = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
POSITIVE = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)


def parse(chart: Html) -> ET.Element:
    return ET.fromstring(chart)


def marks(chart: Html, style: str) -> list[ET.Element]:
    return [item for item in parse(chart).iter() if style in item.get("class", "").split()]


def hover_texts(chart: Html) -> list[str]:
    return [item.text or "" for item in parse(chart).iter("title")]


@given(FINITE, FINITE)
def test_linear_ticks_cover_the_range_with_equal_steps(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = linear_ticks(low, high)
    tolerance = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= high - tolerance
    assert 2 <= len(ticks) <= 12
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


@given(POSITIVE, POSITIVE)
def test_log_ticks_cover_the_range_and_rise(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = log_ticks(low, high)
    assert ticks[0] <= low * 1.000001
    assert ticks[-1] >= high * 0.999999
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 0.93, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (5, 5, [4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6]),
    ],
)
def test_linear_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert linear_ticks(low, high) == expected


def test_an_axis_places_its_ends_at_its_pixels() -> None:
    assert Axis([0, 10], 100, 200).place(5) == 150
    assert Axis([1, 100], 100, 200, logarithmic=True).place(10) == pytest.approx(150)
    assert fit_axis([0, 10], 200, 0).place(10) == 0


def test_a_line_chart_draws_every_series_inside_its_frame() -> None:
    chart = line_chart(
        [Series("train", [0, 1, 2], [3.0, 2.0, 1.0]), Series("evaluation", [0, 2], [4, 2])], title="Loss"
    )
    lines = [mark for mark in marks(chart, "line") if mark.tag == "polyline"]
    assert len(lines) == 2
    width, height = map(float, str(parse(chart).find("svg[@role]").get("viewBox")).split()[2:])  # type: ignore[union-attr]
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    chart = line_chart([Series("loss", range(6), [1, 2, math.nan, 3, 4, math.inf])], title="Loss")
    assert len([mark for mark in marks(chart, "line") if mark.tag == "polyline"]) == 2
    assert "nan" not in chart


def test_a_log_chart_leaves_out_what_has_no_logarithm() -> None:
    chart = line_chart([Series("loss", [0, 1, 2], [0.0, 10.0, 1.0])], title="Loss", log_y=True)
    assert len(marks(chart, "hover")) == 2


def test_a_spike_survives_the_thinning_of_a_long_curve() -> None:
    values = [1.0] * 10_000
    values[7321] = 99.0
    chart = line_chart([Series("loss", range(10_000), values)], title="Loss", x_label="step")
    assert len(marks(chart, "hover")) <= MAX_POINTS
    assert "loss: 99 at step 7,321" in hover_texts(chart)


def test_charts_without_values_say_so() -> None:
    assert "No values yet." in line_chart([Series("loss", [], [])], title="Loss")
    assert "No values." in histogram([math.nan], title="Prices")
    assert "No values." in spread_chart({}, title="Prices")


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    counts = [int(text.rsplit(": ", 1)[1].split()[0]) for text in hover_texts(histogram(values, title="Prices"))]
    assert sum(counts) == len(values)


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart(["one", "two"], {"rows": [1.0, 4.0]}, title="Counts")
    first, second = (float(bar.get("width", "0")) for bar in marks(chart, "bar"))
    assert second == pytest.approx(4 * first, rel=0.01)


def test_grouped_bars_have_a_legend_and_no_bar_for_a_missing_value() -> None:
    chart = bar_chart(["title", "price"], {"pictures": [0.9, 0.8], "blind": [0.1, None]}, title="Scores", maximum=1.0)
    drawn = [bar for bar in marks(chart, "bar") if bar.find("title") is not None]
    assert len(drawn) == 3
    assert [item.get("class") for item in parse(chart).iter("li")] == ["ink-0", "ink-1"]


def test_the_median_stands_between_the_quartiles() -> None:
    chart = spread_chart({"DRESSES": Spread(100, 200, 300, 400, 900)}, title="Prices")
    (box,) = marks(chart, "box")
    (median,) = marks(chart, "median")
    left = float(box.get("x", "0"))
    assert left < float(median.get("x1", "0")) < left + float(box.get("width", "0"))


def test_labels_and_names_are_escaped() -> None:
    hostile = '<b>&"'
    charts = [
        line_chart([Series(hostile, [0, 1], [1, 2]), Series("b", [0], [1])], title=hostile, x_label=hostile),
        bar_chart([hostile], {hostile: [1.0], "b": [2.0]}, title=hostile),
        spread_chart({hostile: Spread(1, 2, 3, 4, 5)}, title=hostile),
        histogram([1, 2], title=hostile, x_label=hostile),
    ]
    assert all(re.search("<b>", chart) is None for chart in charts)
    assert all(parse(chart).find("figcaption").text == hostile for chart in charts)  # type: ignore[union-attr]
