"""Charts: what is drawn is where the numbers say."""

import math
import re

import numpy as np
import pytest

from perception.visualization.charts import Axes, Line, _log_ticks, _ticks, bar_chart, key, line_chart, smoothed


def path_points(svg: str, series: int = 0) -> np.ndarray:
    path = re.search(rf"class=\"line s{series}[^\"]*\" d='M([^']*)'", svg)
    assert path
    return np.array([[float(v) for v in pair.split()] for pair in path[1].split("L")])


def test_a_straight_line_is_drawn_straight_and_to_scale() -> None:
    points = path_points(line_chart("t", [Line([(0, 0), (1, 2), (4, 8)])], Axes(x_range=(0, 4), y_range=(0, 8))))
    steps = np.diff(points, axis=0)
    assert steps[1] == pytest.approx(3 * steps[0], abs=0.2)
    assert steps[0, 0] > 0 > steps[0, 1]  # y grows upwards


def test_a_power_law_is_straight_on_a_log_axis() -> None:
    points = path_points(line_chart("t", [Line([(i, 10.0**-i) for i in range(5)])], Axes(log_y=True)))
    assert np.ptp(np.diff(points[:, 1])) < 0.3


def test_what_cannot_be_drawn_is_left_out() -> None:
    points = [(0.0, 1.0), (1.0, math.nan), (2.0, math.inf), (3.0, 0.0), (4.0, 2.0)]
    assert len(path_points(line_chart("t", [Line(points)], Axes()))) == 3
    assert len(path_points(line_chart("t", [Line(points)], Axes(log_y=True)))) == 2
    assert "no data" in line_chart("t", [Line([(0.0, math.nan)])], Axes())
    assert "h0" in line_chart("t", [Line([(5.0, 5.0)])], Axes())  # one point is a dot


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    points = path_points(line_chart("t", [Line([(i, i) for i in range(10_001)])], Axes(x_range=(0, 10_000))))
    assert 200 < len(points) <= 402
    assert points[-1, 0] == pytest.approx(340 - 8, abs=0.1)


def test_bars_are_to_scale() -> None:
    svg = bar_chart("t", [("car", [0.5, 1.0]), ("bus", [0.0, 0.25])], ["a", "b"])
    widths = [float(w) for w in re.findall(r"<rect[^>]* width=([\d.]+)", svg)]
    assert widths == pytest.approx([0.5 * widths[1], widths[1], 0, 0.25 * widths[1]], abs=0.1)
    assert "bus, b: 0.250" in svg


@pytest.mark.parametrize("seed", range(50))
def test_ticks_are_few_round_and_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.normal() * 10 ** rng.uniform(-4, 6)
    high = low + 10 ** rng.uniform(-3, 6)
    ticks = _ticks(low, high, 4)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 * max(1, abs(high)) for tick in ticks)
    digits = f"{(ticks[1] - ticks[0]):.6e}"[0]
    assert digits in "12459"  # 4.99 and 9.99 are 5 and 10 less rounding


def test_log_ticks() -> None:
    assert _log_ticks(0, 2) == [1, 2, 5, 10, 20, 50, 100]
    assert _log_ticks(-1, 3) == [0.1, 1, 10, 100, 1000]


def test_smoothing_keeps_lines_and_calms_noise() -> None:
    line = [(float(i), 3.0 * i) for i in range(100)]
    np.testing.assert_allclose(smoothed(line), line)
    noise = [(float(i), (-1.0) ** i) for i in range(100)]
    assert max(abs(y) for _, y in smoothed(noise)[10:-10]) < 0.25
    assert smoothed([(0.0, 1.0)]) == [(0.0, 1.0)]


def test_names_are_escaped() -> None:
    hostile = '<script>"&'
    for html in (line_chart(hostile, [Line([(0, 1)], 0, hostile)], Axes(hostile)), key([hostile])):
        assert "<script>" not in html
        assert '"&"' not in html
