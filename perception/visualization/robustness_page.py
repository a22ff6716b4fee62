"""The matrix of failing sensors as one self-contained page: a plot per kind of failure and the table."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from perception.visualization.charts import bar_chart
from perception.visualization.page import note, section, table, write_page


def write_robustness_page(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str = "Robustness") -> Path:
    """Write the page; rows are measure_robustness's, the undisturbed model first. Returns its path."""
    charts = []
    for group, members in groupby(rows[1:], key=lambda row: row["group"]):
        bars = [(row["name"], [row["share"] or 0.0]) for row in members]
        charts.append(bar_chart(group, bars, ["share of the full NDS"], name_px=220))
    cells = [
        [
            escape(row["name"]),
            f"{row['NDS']:.3f}",
            f"{row['mAP']:.3f}",
            "–" if row["share"] is None else f"{row['share']:.1%}",
        ]
        for row in rows
    ]
    told = note(
        "The network is told of missing sensors only; of every other fault it knows nothing. "
        "Late cameras are simulated by the car's own motion, late LiDAR by older sweeps."
    )
    sections = [
        section("Share of the full NDS that is left", f"<div class=grid>{''.join(charts)}</div>"),
        section("All conditions", table(["condition", "NDS", "mAP", "share of the full NDS"], cells, "numbers") + told),
    ]
    return write_page(path, title, sections)
