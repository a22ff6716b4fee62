"""The pages of tools/analyze.py: one run in detail, its comparison with others, and what each sensor adds."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from perception.visualization.charts import Axes, Line, line_chart
from perception.visualization.page import heat_cell, note, picture, section, table, write_page

FEW_OBJECTS = 20
Entry = Mapping[str, Any]


def write_analysis(path: str | Path, analysis: Entry, pictures: Mapping[str, np.ndarray] | None = None) -> Path:
    """Write the page of `analyse`; pictures: RGB by sample token, for its worst frames."""
    run = analysis["run"]
    sections = [
        section("Official scores", _official(analysis)),
        *(
            section(f"{c['run']} against {run}", _differences(c["table"], run, c["run"]))
            for c in analysis["comparisons"]
        ),
        section("By class", _classes(analysis["classes"])),
        *(section(f"By {name}", _slices(rows)) for name, rows in analysis["slices"].items()),
        section("Confusion between classes", _confusion(analysis["confusion"])),
        section("Calibration of scores", _calibration(analysis["calibration"])),
        section("Worst frames", _worst(analysis["worst"], pictures or {})),
    ]
    return write_page(path, f"Analysis of {run}", sections)


def write_contribution(path: str | Path, gains: Entry) -> Path:
    """Write the page of `contribution`."""
    names = {
        "camera_adds": ("LiDAR only", "What the cameras add"),
        "lidar_adds": ("camera only", "What the LiDAR adds"),
    }
    sections = [
        section("Official scores", _table_of(gains["official"], ["NDS", "mAP"])),
        *(section(title, _differences(gains["classes"][key], alone, "fused")) for key, (alone, title) in names.items()),
        *(
            section(f"{title}, by distance", _gain_by_distance(gains["distance"], key))
            for key, (_, title) in names.items()
        ),
        section("Which sensor finds which object", _outcomes(gains["outcomes"])),
    ]
    return write_page(path, "What each sensor adds", sections)


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None or not np.isfinite(value) else format(value, form)


def _label(name: str) -> str:
    return escape(name.replace("_", " "))


def _table_of(rows: Mapping[str, Entry], keys: Sequence[str]) -> str:
    return table(["", *keys], [[_label(n), *(_number(row[k]) for k in keys)] for n, row in rows.items()], "numbers")


def _official(analysis: Entry) -> str:
    official = analysis["official"]
    rows = [[escape(key.replace("_", " ")), _number(value)] for key, value in official.items()]
    return table([], rows, "numbers") + note(
        f"nuscenes-devkit, {analysis['frames']} frames of {analysis['scenes']} scenes. Below, boxes are matched as it "
        "matches them: by the distance of their centres, greedily, best score first. Untinted figures rest on under "
        f"{FEW_OBJECTS} objects."
    )


def _differences(entries: Mapping[str, Entry], first: str, second: str) -> str:
    rows = []
    for name, entry in entries.items():
        interval = "–" if entry["low"] is None else f"{entry['low']:+.3f} … {entry['high']:+.3f}"
        sure = entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)
        gain = f"{entry['difference']:+.3f}"
        rows.append(
            [
                f"<b>{_label(name)}</b>" if name == "mAP" else _label(name),
                str(entry["objects"]),
                _number(entry["first"]),
                _number(entry["second"]),
                heat_cell(
                    gain, min(abs(entry["difference"]) * 4, 1.0) if sure else None, 2 if entry["difference"] > 0 else 1
                ),
                interval,
            ]
        )
    head = ["AP", "objects", escape(first), escape(second), "difference", "95 % interval"]
    return table(head, rows, "numbers") + note(
        "Paired bootstrap over scenes. Tinted: the interval does not hold 0. mAP here is over the classes with objects."
    )


def _classes(classes: Mapping[str, Entry]) -> str:
    rows = [
        [
            _label(name),
            str(row["objects"]),
            heat_cell(_number(row["AP"]), row["AP"]),
            _number(row["threshold"], ".2f"),
            *(str(row[kind]) for kind in ("right", "wrong_class", "missed", "false")),
        ]
        for name, row in classes.items()
    ]
    head = ["", "objects", "AP", "score from", "right", "wrong class", "missed", "false"]
    return table(head, rows, "numbers") + note(
        "AP is the official one. The four counts are at the score of each class's best F1, matched at 2 m."
    )


def _slices(rows: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["classes"]))
    has_ap = any(row["mAP"] is not None for row in rows)
    summary = [
        [
            escape(row["bin"]),
            str(row["objects"]),
            *([_tinted(row["mAP"], row["objects"])] if has_ap else []),
            _tinted(row["recall"], row["objects"], 2),
            _tinted(row["recall_shown"], row["objects"], 2),
            _number(row["ATE"], ".2f"),
        ]
        for row in rows
    ]
    head = ["", "objects", *(["mAP"] if has_ap else []), "recall", "recall at best F1", "ATE <small>m</small>"]
    measure = "AP" if has_ap else "recall"
    detail = [
        [_label(name)]
        + [
            _tinted(row["classes"][name][measure], row["classes"][name]["objects"], 0 if has_ap else 2)
            if name in row["classes"]
            else heat_cell("", None)
            for row in rows
        ]
        for name in names
    ]
    unplaced = "" if has_ap else " A false detection has no place on this axis, so there is no AP along it."
    return (
        table(head, summary, "numbers")
        + f"<details><summary>{measure} of each class</summary>"
        + table(["", *(escape(row["bin"]) for row in rows)], detail, "numbers")
        + "</details>"
        + note(f"recall: found within 2 m at any score. ATE: how far off those are, mean.{unplaced}")
    )


def _tinted(value: float | None, objects: int, series: int = 0) -> str:
    text = _number(value)
    return heat_cell(text, value if value is not None and objects >= FEW_OBJECTS else None, series)


def _confusion(confusion: Entry) -> str:
    counts = np.array(confusion["table"])
    names = [*confusion["names"], "nothing"]
    rows = []
    for i, name in enumerate(names):
        total = counts[i].sum()
        if not total:
            continue
        cells = [
            heat_cell(str(n) if n else "", n / total if n else None, 2 if i == j else 1)
            for j, n in enumerate(counts[i])
        ]
        rows.append([_label(name), *cells])
    head = ["true ↓ reported →", *map(_label, names)]
    return table(head, rows, "numbers") + note(
        "Boxes at each class's best F1. Column nothing: missed. Row nothing: reported where nothing is within 2 m."
    )


def _calibration(curves: Mapping[str, Entry]) -> str:
    charts = []
    for name, curve in curves.items():
        points = list(zip(curve["score"], curve["precision"], strict=True))
        lines = [Line([(0.0, 0.0), (1.0, 1.0)], 3, "perfect", faint=True), Line(points, 0, f"{name}, precision")]
        title = f"{name.replace('_', ' ')} · ECE {_number(curve['ECE'])} · {curve['detections']}"
        charts.append(line_chart(title, lines, Axes("score", (0.0, 1.0), (0.0, 1.02))))
    return f"<div class=grid>{''.join(charts)}</div>" + note(
        "Share of detections that are right (2 m) against the score they gave. Below the diagonal: too sure of itself. "
        "ECE is the mean distance from it, weighted by detections; their number follows."
    )


def _worst(frames: Sequence[Entry], pictures: Mapping[str, np.ndarray]) -> str:
    kinds = ("missed", "false", "wrong class", "right")
    rows = [
        [escape(f["scene"]), escape(f["weather"]), *(str(f[k]) for k in kinds), f"<code>{escape(f['token'])}</code>"]
        for f in frames
    ]
    shown = "".join(picture(pictures[f["token"]], f["token"]) for f in frames if f["token"] in pictures)
    return table(["scene", "weather", *kinds, "sample"], rows, "numbers") + shown


def _gain_by_distance(rows: Sequence[Entry], key: str) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row[key]))
    names = [name for name in names if name != "mAP"] + ["mAP"] * ("mAP" in names)
    body = []
    for name in names:
        cells = []
        for row in rows:
            entry = row[key].get(name)
            if entry is None:
                cells.append(heat_cell("", None))
                continue
            sure = entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)
            share = min(abs(entry["difference"]) * 4, 1.0) if sure else None
            cells.append(heat_cell(f"{entry['difference']:+.3f}", share, 2 if entry["difference"] > 0 else 1))
        body.append([_label(name), *cells])
    return table(["AP", *(escape(row["bin"]) for row in rows)], body, "numbers") + note(
        "Fused minus the lone sensor. Tinted: the 95 % interval does not hold 0."
    )


def _outcomes(outcomes: Mapping[str, Mapping[str, int]]) -> str:
    names = list(next(iter(outcomes.values()), {}))
    total = {outcome: sum(row[outcome] for row in outcomes.values()) for outcome in names}
    rows = []
    for outcome in names:
        cells = []
        for row in [*outcomes.values(), total]:
            count = sum(row.values())
            cells.append(heat_cell(f"{row[outcome]}", row[outcome] / count if count else None))
        rows.append([escape(outcome), *cells])
    return table(["", *map(_label, outcomes), "all"], rows, "numbers") + note(
        "Objects by which mode finds them within 2 m, each at the best F1 of its classes. Tint: share of the column."
    )
