"""Pictures of figures: one HTML page that holds everything, its charts drawn as SVG, without libraries or network."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 30, 45
_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e09f3e", "#6a4c93", "#3d3d3d", "#00a3a3", "#a0522d")
_STYLE = """body{font:14px/1.5 sans-serif;max-width:1360px;margin:2em auto;padding:0 1em;color:#222}
svg{margin:0 1em 1em 0}svg text{font:11px sans-serif;fill:#444}svg .title{font:bold 13px sans-serif;fill:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}.note{color:#a33}"""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title: Above the chart.
        x, y: What the axes show, with units.
        lines: Points (x, y) by name; ascending in x.
        log_x: Equal steps are equal ratios.
        ranges: By name, (low, high) for each point of the line, drawn as a bar through it.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    ranges: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def page(
    title: str,
    charts: Sequence[Chart],
    rows: Sequence[Sequence[str]] = (),
    notes: Sequence[str] = (),
) -> str:
    """An HTML document.

    Args:
        title: The heading.
        charts: In order.
        rows: A table; the first row is its head.
        notes: Lines below the heading.
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    body += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    body += [svg(chart) for chart in charts]
    if rows:
        head, *rest = rows
        body.append("<table>" + _row("th", head) + "".join(_row("td", row) for row in rest) + "</table>")
    text = "\n".join(body)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{text}\n</body></html>\n"
    )


def _row(cell: str, values: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(value)}</{cell}>" for value in values) + "</tr>"


def ticks(high: float, wanted: int = 5) -> list[float]:
    """Round numbers from zero to at least `high`, about `wanted` of them."""
    if high <= 0:
        return [0.0, 1.0]
    step = 10 ** math.floor(math.log10(high / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= wanted)
    return [step * number for number in range(math.ceil(high / step - 1e-9) + 1)]


def svg(chart: Chart) -> str:
    """One chart as an SVG element; a chart without a point is an empty one."""
    points = [point for line in chart.lines.values() for point in line]
    scale_x = _x_scale([x for x, _ in points] or [0.0, 1.0], log=chart.log_x)
    marks = ticks(
        max([y for _, y in points] + [high for r in chart.ranges.values() for _, high in r] + [0.0])
    )
    height = _HEIGHT - _TOP - _BOTTOM

    def place_y(value: float) -> float:
        return _TOP + height * (1 - value / marks[-1])

    out = [f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">']
    out.append(f'<text class="title" x="{_LEFT}" y="16">{html.escape(chart.title)}</text>')
    for mark in marks:
        y = place_y(mark)
        out.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(mark)}</text>')
    for value in _x_marks([x for x, _ in points], log=chart.log_x):
        x = scale_x(value)
        out.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(value)}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    out.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">{html.escape(chart.x)}</text>')
    out.append(
        f'<text transform="rotate(-90)" x="{-_HEIGHT / 2}" y="14" text-anchor="middle">{html.escape(chart.y)}</text>'
    )
    for number, (name, line) in enumerate(chart.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(scale_x(x), place_y(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(placed) <= 20:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        for (x, _), (low, high) in zip(placed, chart.ranges.get(name, ()), strict=False):
            out.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{place_y(low):.1f}" y2="{place_y(high):.1f}" '
                f'stroke="{colour}" opacity="0.5"/>'
            )
        y = _TOP + 6 + 15 * number
        out.append(f'<rect x="{_LEFT + 10}" y="{y}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{_LEFT + 25}" y="{y + 9}">{html.escape(name)}</text>')
    return "\n".join([*out, "</svg>"])


def _x_scale(values: Sequence[float], *, log: bool) -> Callable[[float], float]:
    """Where a value stands on the horizontal axis."""
    low, high = _placed(min(values), log), _placed(max(values), log)
    width = _WIDTH - _LEFT - _RIGHT

    def place(value: float) -> float:
        return _LEFT + width * ((_placed(value, log) - low) / (high - low) if high > low else 0.5)

    return place


def _placed(value: float, log: bool) -> float:
    return math.log10(max(value, 1e-9)) if log else value


def _x_marks(values: Sequence[float], *, log: bool) -> list[float]:
    """What is written below the axis: the values themselves where they are few, round ones elsewhere."""
    distinct = sorted(set(values))
    if len(distinct) <= 8:
        return distinct
    low, high = distinct[0], distinct[-1]
    if not log:
        return [mark for mark in ticks(high) if low <= mark <= high]
    powers = range(math.floor(math.log10(max(low, 1e-9))), math.ceil(math.log10(max(high, 1e-9))) + 1)
    marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [mark for mark in marks if low <= mark <= high]


def _number(value: float) -> str:
    return f"{value:,.10g}" if value >= 1 else f"{value:.3g}"
