"""Small charts as inline SVG. Colours come from the page's style sheet, by class: s0, s1, .. are its series."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

MAX_POINTS = 400  # a line has no more: the page stays small


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y), the series whose colour it takes, and what a pointer over it reads."""

    points: Sequence[tuple[float, float]]
    series: int = 0
    label: str = ""
    faint: bool = False


@dataclass(frozen=True)
class Axes:
    """Limits (None: from the data), names, and whether y is logarithmic."""

    x_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    log_y: bool = False
    size: tuple[int, int] = field(default=(340, 200))


def line_chart(title: str, lines: Sequence[Line], axes: Axes) -> str:
    """A <figure> with a line chart; points that are not finite (or not positive on a log axis) are left out."""
    kept = [Line(_thin(_drawable(line.points, axes.log_y)), line.series, line.label, line.faint) for line in lines]
    xs = [x for line in kept for x, _ in line.points]
    ys = [y for line in kept for _, y in line.points]
    if not xs:
        return _figure(title, "<p class=none>no data</p>")
    x_low, x_high = axes.x_range or _padded(min(xs), max(xs), 0.0)
    transform = math.log10 if axes.log_y else float
    low, high = axes.y_range or (min(ys), max(ys))
    y_low, y_high = _padded(transform(low), transform(high), 0.0 if axes.y_range else 0.06)
    width, height = axes.size
    left, right, top, bottom = 44, 8, 8, 34

    def x_px(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (width - left - right)

    def y_px(y: float) -> float:
        return height - bottom - (transform(y) - y_low) / (y_high - y_low) * (height - top - bottom)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">']
    for y in _log_ticks(y_low, y_high) if axes.log_y else _ticks(y_low, y_high, 4):
        parts.append(f'<path class=grid d="M{left} {y_px(y):.1f}H{width - right}"/>')
        parts.append(f"<text x={left - 5} y={y_px(y) + 3.5:.1f} text-anchor=end>{_number(y)}</text>")
    for x in _ticks(x_low, x_high, 4):
        parts.append(f"<text x={x_px(x):.1f} y={height - bottom + 14} text-anchor=middle>{_number(x)}</text>")
    parts.append(f'<path class=axis d="M{left} {height - bottom}H{width - right}"/>')
    parts.append(f"<text x={width - right} y={height - 4} text-anchor=end class=name>{escape(axes.x_label)}</text>")
    for line in kept:
        path = "M" + "L".join(f"{x_px(x):.1f} {y_px(y):.1f}" for x, y in line.points)
        if len(line.points) == 1:
            path += "h0"  # with round caps, a dot
        kind = f'class="line s{line.series}{" faint" if line.faint else ""}"'
        parts.append(f"<path {kind} d='{path}'><title>{escape(line.label)}</title></path>")
    parts.append("</svg>")
    return _figure(title, "".join(parts))


def bar_chart(
    title: str, groups: Sequence[tuple[str, Sequence[float]]], labels: Sequence[str], name_px: int = 124
) -> str:
    """A <figure> of horizontal bars from 0 to 1; groups are (name, one value per series), the values stand beside.

    Names have `name_px` to their left.
    """
    bar, gap, left, width = 13, 12, name_px, name_px + 296
    step = bar * len(labels) + gap
    height = step * len(groups) + 22
    span = width - left - 40
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + tick * span
        parts.append(f'<path class=grid d="M{x:.1f} 0V{height - 20}"/>')
        parts.append(f"<text x={x:.1f} y={height - 6} text-anchor=middle>{tick:g}</text>")
    for i, (name, values) in enumerate(groups):
        y = i * step + gap / 2
        middle = y + bar * len(labels) / 2 + 4
        parts.append(f"<text x={left - 10} y={middle:.1f} text-anchor=end class=name>{escape(name)}</text>")
        for j, value in enumerate(values):
            length, top = max(0.0, min(1.0, value)) * span, y + j * bar
            parts.append(
                f'<rect class="bar s{j}" x={left} y={top + 1:.1f} width={length:.1f} height={bar - 2} rx=2>'
                f"<title>{escape(f'{name}, {labels[j]}: {value:.3f}')}</title></rect>"
                f"<text x={left + length + 5:.1f} y={top + bar - 3:.1f}>{value:.3f}</text>"
            )
    parts.append("</svg>")
    return _figure(title, "".join(parts), "wide")


def key(labels: Sequence[str], first: int = 0) -> str:
    """What the colours of the series from `first` on mean, as a line of swatches."""
    swatches = "".join(f"<span><i class=s{first + i}></i>{escape(name)}</span>" for i, name in enumerate(labels))
    return f"<p class=key>{swatches}</p>"


def smoothed(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """Moving average of the y of points over a window of `share` of their number, centred, smaller at the ends."""
    half = max(1, round(len(points) * share / 2))
    out = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        window = [y for _, y in points[i - reach : i + reach + 1]]
        out.append((x, sum(window) / len(window)))
    return out


def _figure(title: str, body: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><figcaption>{escape(title)}</figcaption>{body}</figure>'


def _drawable(points: Sequence[tuple[float, float]], log_y: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // MAX_POINTS)
    return points[::step] + points[-1:] if step > 1 else points


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    span = high - low or max(abs(high), 1.0) * 0.1
    return low - share * span, low + span + share * span


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers in [low, high]."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = min((power * m for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(low), math.ceil(high) + 1)
    multiples = (1, 2, 5) if high - low < 2.2 else (1,)
    return [m * 10.0**p for p in powers for m in multiples if low <= math.log10(m * 10.0**p) <= high]


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:g}"
