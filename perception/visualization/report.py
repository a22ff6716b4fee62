"""A run's results as one self-contained HTML page: no script, no other file, readable in light, dark and on a phone."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from perception.visualization.charts import Axes, Line, bar_chart, key, line_chart, smoothed
from perception.visualization.page import picture, section, table, write_page

SUMMARY = ("NDS", "mAP", "mAP_present", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
HIGHER_IS_BETTER = ("NDS", "mAP", "mAP_present")
ERRORS = {"ATE": "m", "ASE": "1 - IoU", "AOE": "rad", "AVE": "m/s", "AAE": "1 - accuracy"}
MODES = {
    "fused": "Fused",
    "lidar_only": "LiDAR only",
    "camera_only": "Camera only",
    "lidar_alone": "LiDAR, trained alone",
}


def write_report(
    path: str | Path,
    results: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "Detection report",
    facts: Mapping[str, str] | None = None,
    stages_s: Mapping[str, float] | None = None,
    scalars: Sequence[str | Path] = (),
    frames: Sequence[str | Path] = (),
) -> Path:
    """Write the page; sections without data are left out. Returns its path.

    results: scores of evaluate_results by name of the mode ("fused", "lidar_only", "camera_only" or any other); the
        first is the one whose errors and curves are shown in full.
    facts: lines of the table of the run (configuration, checkpoint, seed, ..); stages_s: seconds each stage took.
    scalars: mmengine's vis_data/scalars.json files, in the order of the runs; frames: PNG files to show.
    Raises ValueError where results is empty, FileNotFoundError where a given file is missing.
    """
    if not results:
        raise ValueError("a report needs the scores of at least one mode")
    labels = [MODES.get(name, name.replace("_", " ")) for name in results]
    scores = list(results.values())
    sections = [
        section("Scores", _summary_table(labels, scores) + _scored_note(scores[0])),
        section("Average precision by class", _ap_bars(labels, scores)),
        section(f"Errors of true positives, {labels[0].lower()}", _errors_table(scores[0])),
        section(f"Precision and recall, {labels[0].lower()}", _pr_curves(scores[0])),
        section("Training", _training_curves(read_scalars(scalars))),
        section("Frames", "".join(_frame(Path(frame)) for frame in frames)),
        section("The run", _facts_table(facts or {}, stages_s or {})),
    ]
    return write_page(path, title, sections)


def read_scalars(paths: Sequence[str | Path]) -> dict[str, list[tuple[float, float]]]:
    """Curves (step, value) by name from mmengine's scalars.json files; of a step logged twice the later file's counts.

    A last line cut off by a crash is passed over.
    """
    curves: dict[str, dict[float, float]] = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            step = row.get("step", row.get("iter"))
            for name, value in row.items():
                if isinstance(value, int | float) and isinstance(step, int | float):
                    curves.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in curves.items()}


def _value(value: float | None, best: bool = False) -> str:
    text = "–" if value is None else f"{value:.3f}"
    return f"<b>{text}</b>" if best else text


def _summary_table(labels: Sequence[str], scores: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in SUMMARY if any(s.get(name) is not None for s in scores)]
    best = {}
    for name in columns:
        values = [s[name] for s in scores if s.get(name) is not None]
        best[name] = max(values) if name in HIGHER_IS_BETTER else min(values)
    rows = [
        [f"<i class=s{i}></i>{escape(label)}"]
        + [_value(s.get(name), len(scores) > 1 and s.get(name) == best[name]) for name in columns]
        for i, (label, s) in enumerate(zip(labels, scores, strict=True))
    ]
    head = ["", *(f"{name} {'↑' if name in HIGHER_IS_BETTER else '↓'}" for name in columns)]
    return table([h.replace("_", " ") for h in head], rows, "numbers")


def _scored_note(score: Mapping[str, Any]) -> str:
    scored = score.get("scored")
    if not scored:
        return ""
    note = f"Official nuScenes score of {scored['samples']} sample{'s' * (scored['samples'] != 1)}"
    if scored["split"] is not None:
        note += f" of split {scored['split']}"
    if scored["restricted"]:
        note += f", which has {scored['samples_in_split']}: this is a score of a part, not of the split"
    note += ". mAP and NDS are over all ten classes, mAP present over those with ground truth here."
    return f"<p class=note>{escape(note)} ↑ higher is better, ↓ lower is better.</p>"


def _class_label(name: str) -> str:
    return name.replace("_", " ")


def _ap_bars(labels: Sequence[str], scores: Sequence[Mapping[str, Any]]) -> str:
    present = scores[0].get("present") or scores[0].get("AP", {})
    groups = [(_class_label(name), [s["AP"][name] for s in scores]) for name in present]
    if not groups:
        return ""
    counts = table(
        ["class", "boxes of ground truth", *map(escape, labels)],
        [
            [escape(_class_label(name)), str(present[name]), *(_value(s["AP"][name]) for s in scores)]
            for name in scores[0].get("present", {})
        ],
        "numbers",
    )
    chart = bar_chart("AP, mean of the distances 0.5, 1, 2 and 4 m", groups, labels)
    return f"{key(labels)}{chart}<details><summary>As a table</summary>{counts}</details>"


def _errors_table(score: Mapping[str, Any]) -> str:
    names = list(score.get("present") or score.get("TP", {}))
    if not names or "TP" not in score:
        return ""
    rows = [[escape(_class_label(n)), *(_value(score["TP"][n][error]) for error in ERRORS)] for n in names]
    head = ["class", *(f"{error} <small>{unit}</small>" for error, unit in ERRORS.items())]
    note = "<p class=note>At 2 m, mean over recalls above 0.1; 1 where a class has no true positive there.</p>"
    return table(head, rows, "numbers") + note


def _pr_curves(score: Mapping[str, Any]) -> str:
    curves = score.get("curves")
    if not curves or not curves["precision"]:
        return ""
    recall = curves["recall"]
    distances = list(next(iter(curves["precision"].values())))
    charts = []
    for name, by_distance in curves["precision"].items():
        lines = [Line(list(zip(recall, by_distance[d], strict=True)), 4 + i, f"{d} m") for i, d in enumerate(distances)]
        title = f"{_class_label(name)} · AP {score['AP'][name]:.3f}"
        charts.append(line_chart(title, lines, Axes("recall", (0.0, 1.0), (0.0, 1.02))))
    return f"{key([f'{d} m' for d in distances], first=4)}<div class=grid>{''.join(charts)}</div>"


def _training_curves(curves: Mapping[str, list[tuple[float, float]]]) -> str:
    losses = sorted((name for name in curves if "loss" in name.lower()), key=lambda name: (name != "loss", name))
    others = [name for name in ("lr", "grad_norm", "memory", "time", "data_time") if name in curves]
    official = [name for name in curves if name.rsplit("/", 1)[-1] in ("NDS", "mAP", "mAP_present")]
    charts = []
    for name in [*losses, *official, *others]:
        points = curves[name]
        values = [y for _, y in points if y > 0]
        steep = name in losses and len(values) == len(points) and max(values) > 30 * min(values)
        lines = [Line(points, 0, name, faint=name in losses)]
        if name in losses:
            lines.append(Line(smoothed(points), 0, f"{name}, smoothed"))
        charts.append(line_chart(name, lines, Axes("step", log_y=steep)))
    return f"<div class=grid>{''.join(charts)}</div>" if charts else ""


def _frame(path: Path) -> str:
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"no picture can be read from {path}")
    return picture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), path.stem)


def _facts_table(facts: Mapping[str, str], stages_s: Mapping[str, float]) -> str:
    rows = [[escape(name), escape(str(text))] for name, text in facts.items()]
    rows += [[escape(f"{name.replace('_', ' ')}"), f"{seconds:.1f} s"] for name, seconds in stages_s.items()]
    if stages_s:
        rows.append(["all stages", f"{sum(stages_s.values()):.1f} s"])
    return table([], rows, "facts") if rows else ""
