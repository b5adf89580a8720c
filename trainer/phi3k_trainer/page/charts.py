"""Charts as inline SVG. Colours are CSS variables of the page, so they follow light and dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi3k_trainer.page.axes import Axis, fit_axis, linear_ticks
from phi3k_trainer.page.html import Html, element, join, number

WIDTH = 560
HEIGHT = 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 10, 42
INKS = 6
# Lines differ by dash as well as by colour, for readers who don't see the colour.
DASHES = (None, "7 4", "2 4", "10 3 2 3", "5 2", "1 3")
MAX_POINTS = 400
ROW = 24
CHARACTER = 6.6
"""Average width of a character of the charts' 12 px type, in pixels."""


@dataclass(frozen=True)
class Series:
    """A named curve. Points that are not finite (or not positive on a log axis) leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str = "", y_label: str = "", log_y: bool = False
) -> Html:
    """Curves over a common x axis. Hovering a point shows its numbers; curves with many points are thinned out."""
    drawn = [Series(one.name, *_thinned(one, log_y)) for one in series]
    shown = [(x, y) for one in drawn for x, y in zip(one.x, one.y, strict=True) if _visible(y, log_y)]
    if not shown:
        return _chart(title, element("p", {"class": "note"}, "No values yet."))
    across = fit_axis([x for x, _ in shown], LEFT, WIDTH - RIGHT)
    across = Axis(_inner_ends(across.ticks, [x for x, _ in shown]), across.start, across.end)
    up = fit_axis([y for _, y in shown], HEIGHT - BOTTOM, TOP, logarithmic=log_y)
    parts = [_frame(across, up, x_label, y_label)]
    for index, one in enumerate(drawn):
        parts.append(element("g", {"class": f"ink-{index % INKS}"}, _curve(one, index, across, up, x_label)))
    legend = _legend([one.name for one in series], dashed=True) if len(series) > 1 else Html()
    return _chart(title, legend, _svg(title, HEIGHT, parts))


def _inner_ends(ticks: Sequence[float], values: Sequence[float]) -> list[float]:
    """The ticks with the outer two moved to the data's ends, so that a curve fills the width."""
    low, high = min(values), max(values)
    if low == high:
        return list(ticks)
    return [low, *(tick for tick in ticks if low < tick < high), high]


def _visible(value: float, logarithmic: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _thinned(one: Series, logarithmic: bool) -> tuple[list[float], list[float]]:
    """At most MAX_POINTS points; of every bucket the lowest and the highest stay, so that spikes do."""
    if len(one.x) <= MAX_POINTS:
        return list(one.x), list(one.y)
    size = math.ceil(len(one.x) / (MAX_POINTS // 2))
    kept: list[int] = []
    for start in range(0, len(one.x), size):
        bucket = [i for i in range(start, min(start + size, len(one.x))) if _visible(one.y[i], logarithmic)]
        if bucket:
            kept.extend(sorted({min(bucket, key=lambda i: one.y[i]), max(bucket, key=lambda i: one.y[i])}))
        else:
            kept.append(start)
    return [one.x[i] for i in kept], [one.y[i] for i in kept]


def _curve(one: Series, index: int, across: Axis, up: Axis, x_label: str) -> Html:
    runs: list[list[str]] = [[]]
    hovers: list[Html] = []
    for x, y in zip(one.x, one.y, strict=True):
        if not _visible(y, up.logarithmic):
            runs.append([])
            continue
        left, top = f"{across.place(x):.1f}", f"{up.place(y):.1f}"
        runs[-1].append(f"{left},{top}")
        name = element("title", None, f"{one.name}: {number(y)} at {x_label or 'x'} {number(x)}")
        hovers.append(element("circle", {"class": "hover", "cx": left, "cy": top, "r": 4}, name))
    lines = (
        element("polyline", {"class": "line", "stroke-dasharray": DASHES[index % INKS], "points": " ".join(run)})
        for run in runs
        if len(run) > 1
    )
    lonely = (run[0].split(",") for run in runs if len(run) == 1)
    dots = (element("circle", {"class": "dot", "cx": left, "cy": top, "r": 3}) for left, top in lonely)
    return join([*lines, *dots, *hovers])


def histogram(values: Sequence[float], *, title: str, x_label: str = "", y_label: str = "rows", bins: int = 24) -> Html:
    """How often values occur, in about `bins` bins with round edges. Values that are not finite are left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return _chart(title, element("p", {"class": "note"}, "No values."))
    edges = linear_ticks(min(finite), max(finite), bins)
    counts = [0] * (len(edges) - 1)
    step = edges[1] - edges[0]
    for value in finite:
        counts[min(int((value - edges[0]) / step), len(counts) - 1)] += 1
    across = Axis([edges[0], edges[-1]], LEFT, WIDTH - RIGHT)
    labelled = [tick for tick in linear_ticks(edges[0], edges[-1]) if edges[0] <= tick <= edges[-1]]
    up = fit_axis([0, max(counts)], HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up, x_label, y_label, x_ticks=labelled)]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            left, right, top = across.place(low), across.place(high), up.place(count)
            name = element("title", None, f"{number(low)} to {number(high)}: {number(count)} {y_label}")
            box = {"x": f"{left + 0.5:.1f}", "width": f"{max(right - left - 1, 0.5):.1f}"}
            box |= {"y": f"{top:.1f}", "height": f"{up.start - top:.1f}"}
            parts.append(element("rect", {"class": "bar ink-0", **box}, name))
    return _chart(title, _svg(title, HEIGHT, parts))


def bar_chart(
    labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, title: str, maximum: float | None = None
) -> Html:
    """Horizontal bars, a group of them for each label; one series needs no legend. Values are >= 0; None has no bar.

    `maximum` fixes the end of the scale (1.0 for shares); by default the largest value fills the width.
    """
    present = [value for values in series.values() for value in values if value is not None and math.isfinite(value)]
    end = maximum or max(present, default=0.0) or 1.0
    margin, written = _label_margin(labels)
    thickness = ROW - 8 if len(series) == 1 else 13
    group = thickness * len(series) + 8
    axis = Axis([0, end], margin, WIDTH - 64)
    parts: list[Html] = []
    for row, label in enumerate(written):
        top = row * group + 4
        middle = top + thickness * len(series) / 2
        parts.append(_row_label(label, labels[row], margin, middle))
        for index, (name, values) in enumerate(series.items()):
            value = values[row]
            if value is None or not math.isfinite(value):
                continue
            y, reach = top + index * thickness, axis.place(min(value, end))
            hover = element("title", None, f"{labels[row]}, {name}: {number(value)}")
            box = {"x": margin, "y": y, "width": f"{max(reach - margin, 1):.1f}", "height": thickness - 1, "rx": 2}
            parts.append(element("rect", {"class": f"bar ink-{index % INKS}", **box}, hover))
            at = {"x": f"{reach + 6:.1f}", "y": y + thickness / 2 + 4}
            parts.append(element("text", {"class": "value", **at}, number(value)))
    legend = _legend(list(series), dashed=False) if len(series) > 1 else Html()
    return _chart(title, legend, _svg(title, max(group * len(labels), 1) + 4, parts))


@dataclass(frozen=True)
class Spread:
    """Where the values of one group lie."""

    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float


def spread_chart(groups: Mapping[str, Spread], *, title: str, x_label: str = "") -> Html:
    """A box from quartile to quartile for each group, the median in it, whiskers to the lowest and highest value."""
    if not groups:
        return _chart(title, element("p", {"class": "note"}, "No values."))
    margin, written = _label_margin(list(groups))
    ends = [end for spread in groups.values() for end in (spread.lowest, spread.highest)]
    axis = fit_axis([0.0, *ends], margin, WIDTH - RIGHT - 12)
    bottom = ROW * len(groups) + 4
    parts = [_vertical_line(axis.place(tick), 0, bottom, "grid") for tick in axis.ticks]
    for row, ((name, spread), label) in enumerate(zip(groups.items(), written, strict=True)):
        middle = row * ROW + ROW / 2 + 2
        parts.append(_row_label(label, name, margin, middle))
        parts.append(element("g", {"class": "ink-0"}, *_box(spread, axis, middle, name)))
    parts += [_tick_text(axis.place(tick), bottom + 16, tick) for tick in axis.ticks]
    parts.append(element("text", {"x": (margin + WIDTH) / 2, "y": bottom + 34, "text-anchor": "middle"}, x_label))
    return _chart(title, _svg(title, bottom + 40, parts))


def _box(spread: Spread, axis: Axis, middle: float, name: str) -> list[Html]:
    ends = (spread.lowest, spread.lower_quartile, spread.median, spread.upper_quartile, spread.highest)
    lowest, lower, median, upper, highest = (axis.place(value) for value in ends)
    hover = element("title", None, f"{name}: " + " / ".join(number(value) for value in ends))
    whisker = {"class": "whisker", "x1": f"{lowest:.1f}", "x2": f"{highest:.1f}", "y1": middle, "y2": middle}
    box = {"x": f"{lower:.1f}", "y": middle - 7, "width": f"{max(upper - lower, 1):.1f}", "height": 14, "rx": 2}
    return [
        element("line", whisker),
        element("rect", {"class": "box", **box}, hover),
        _vertical_line(median, middle - 7, middle + 7, "median"),
    ]


def _frame(across: Axis, up: Axis, x_label: str, y_label: str, x_ticks: Sequence[float] | None = None) -> Html:
    parts: list[Html] = []
    for tick in up.ticks:
        y = f"{up.place(tick):.1f}"
        parts.append(element("line", {"class": "grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y}))
        text = {"x": LEFT - 8, "y": f"{up.place(tick) + 4:.1f}", "text-anchor": "end"}
        parts.append(element("text", text, number(tick)))
    axis = {"class": "axis", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": up.start, "y2": up.start}
    parts.append(element("line", axis))
    free_from = -math.inf
    for tick in x_ticks if x_ticks is not None else across.ticks:
        place, half = across.place(tick), len(number(tick)) * CHARACTER / 2
        if place - half > free_from:
            parts.append(_tick_text(min(place, WIDTH - half), up.start + 17, tick))
            free_from = place + half + 6
    parts.append(element("text", {"x": (LEFT + WIDTH) / 2, "y": HEIGHT - 6, "text-anchor": "middle"}, x_label))
    middle = (up.start + up.end) / 2
    turned = {"x": 12, "y": middle, "text-anchor": "middle", "transform": f"rotate(-90 12 {middle})"}
    parts.append(element("text", turned, y_label))
    return join(parts)


def _vertical_line(x: float, top: float, bottom: float, style: str) -> Html:
    place = f"{x:.1f}"
    return element("line", {"class": style, "x1": place, "x2": place, "y1": top, "y2": bottom})


def _tick_text(x: float, y: float, value: float) -> Html:
    return element("text", {"x": f"{x:.1f}", "y": y, "text-anchor": "middle"}, number(value))


def _label_margin(labels: Sequence[str]) -> tuple[int, list[str]]:
    """Room left of horizontal bars in pixels, and the labels cut to fit in it."""
    longest = 28
    written = [label if len(label) <= longest else label[: longest - 1] + "…" for label in labels]
    return round(max((_text_width(label) for label in written), default=0)) + 16, written


def _text_width(text: str) -> float:
    """About how wide a text is in pixels; capitals take more room."""
    return sum(CHARACTER * (1.4 if character.isupper() else 1.1) for character in text)


def _row_label(label: str, full: str, margin: float, middle: float) -> Html:
    place = {"class": "label", "x": margin - 8, "y": middle + 4, "text-anchor": "end"}
    return element("text", place, label, element("title", None, full))


def _legend(names: Sequence[str], *, dashed: bool) -> Html:
    entries: list[Html] = []
    for index, name in enumerate(names):
        dash = DASHES[index % INKS] if dashed else None
        line = element("line", {"class": "line", "x1": 1, "x2": 23, "y1": 5, "y2": 5, "stroke-dasharray": dash})
        block = element("rect", {"class": "bar", "x": 6, "y": 0, "width": 12, "height": 10, "rx": 2})
        swatch = element("svg", {"viewBox": "0 0 24 10", "aria-hidden": "true"}, line if dashed else block)
        entries.append(element("li", {"class": f"ink-{index % INKS}"}, swatch, name))
    return element("ul", {"class": "legend"}, *entries)


def _svg(title: str, height: float, parts: Sequence[Html]) -> Html:
    return element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": title}, *parts)


def _chart(title: str, *content: Html) -> Html:
    return element("figure", {"class": "chart"}, element("figcaption", None, title), *content)
