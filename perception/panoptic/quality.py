"""Panoptic quality (Kirillov et al., CVPR 2019, section 4), by the rules of COCO's panopticapi.

A found and a true segment of one category match where they share over half of their union,
void left out of it.
PQ of a category is the sum of the matches' IoU over TP + FP/2 + FN/2; a category that is neither there nor found has
none.
A found segment that lies by more than half in void or in a crowd of its category is no false positive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from perception.panoptic.files import read_json, read_segments, segment_folder

VOID = 0


class PanopticQuality:
    """Adds up images; `summary` gives the scores. Categories are as in COCO's file: {id: {"isthing", "name", ...}}."""

    def __init__(self, categories: dict[int, dict[str, Any]]) -> None:
        self.categories = categories
        self.iou = dict.fromkeys(categories, 0.0)
        self.matched, self.false, self.missed = (dict.fromkeys(categories, 0) for _ in range(3))

    def add(
        self, truth: np.ndarray, true_segments: list[dict[str, Any]], found: np.ndarray, categories: dict[int, int]
    ) -> None:
        """An image: true segment numbers [H,W] with their entries, found ones [H,W] with {number: category id}."""
        pairs, counts = np.unique(truth.astype(np.int64) * (1 << 32) + found, return_counts=True)
        shared = {(int(p >> 32), int(p & 0xFFFFFFFF)): int(n) for p, n in zip(pairs, counts, strict=True)}
        true_area: dict[int, int] = {}
        found_area: dict[int, int] = {}
        for (t, f), n in shared.items():
            true_area[t] = true_area.get(t, 0) + n
            found_area[f] = found_area.get(f, 0) + n
        entries = {entry["id"]: entry for entry in true_segments}
        matched_true, matched_found = set(), set()
        for (t, f), n in shared.items():
            entry = entries.get(t)
            if entry is None or f not in categories or entry["iscrowd"] or entry["category_id"] != categories[f]:
                continue
            union = true_area[t] + found_area[f] - n - shared.get((VOID, f), 0)
            if n / union > 0.5:
                category = entry["category_id"]
                self.iou[category] += n / union
                self.matched[category] += 1
                matched_true.add(t)
                matched_found.add(f)
        crowd = {}
        for number, entry in entries.items():
            if number in matched_true:
                continue
            if entry["iscrowd"]:
                crowd[entry["category_id"]] = number
            else:
                self.missed[entry["category_id"]] += 1
        for number, category in categories.items():
            area = found_area.get(number, 0)
            if number in matched_found or area == 0:
                continue
            excused = shared.get((VOID, number), 0) + shared.get((crowd.get(category, -1), number), 0)
            if excused / area <= 0.5:
                self.false[category] += 1

    def summary(self) -> dict[str, Any]:
        """{PQ, PQ_things, PQ_stuff, SQ, RQ, PQ_per_class: {name: PQ or None}}, 0..1."""
        rows: dict[int, tuple[float, float, float]] = {}
        for number in self.categories:
            tp, fp, fn = self.matched[number], self.false[number], self.missed[number]
            if tp + fp + fn:
                recognition = tp / (tp + 0.5 * fp + 0.5 * fn)
                segmentation = self.iou[number] / tp if tp else 0.0
                rows[number] = (segmentation * recognition, segmentation, recognition)

        def mean(column: int, things: tuple[int, ...] = (0, 1)) -> float:
            own = [row[column] for number, row in rows.items() if self.categories[number]["isthing"] in things]
            return float(np.mean(own)) if own else 0.0

        per_class = {c["name"]: rows[number][0] if number in rows else None for number, c in self.categories.items()}
        summary = {"PQ": mean(0), "PQ_things": mean(0, (1,)), "PQ_stuff": mean(0, (0,)), "SQ": mean(1), "RQ": mean(2)}
        return {**summary, "PQ_per_class": per_class}


class PanopticMetric(BaseMetric):
    """Scores predicted segments against a COCO-panoptic file, cut and shrunk as the network's images are.

    Args:
        ann_file: the truth.
        out_dir: folder for scores.json.
    """

    def __init__(self, ann_file: str, out_dir: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        content = read_json(ann_file)
        self.out_dir, self.folder = Path(out_dir), segment_folder(ann_file)
        self.categories = {row["id"]: row for row in content["categories"]}
        self.truth = {row["image_id"]: row for row in content["annotations"]}
        self.scores: dict[str, Any] = {}

    def process(self, data_batch: Any, data_samples: Any) -> None:
        for sample in data_samples:
            entry = self.truth[sample["image_id"]]
            truth = sample["view"].of_segments(read_segments(self.folder / entry["file_name"]))
            kept = set(np.unique(truth).tolist())
            rows = [row for row in entry["segments_info"] if row["id"] in kept]
            self.results.append((truth, rows, sample["found"], sample["categories"]))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        quality = PanopticQuality(self.categories)
        for row in results:
            quality.add(*row)
        self.scores = quality.summary()
        self.out_dir.mkdir(parents=True, exist_ok=True)
        (self.out_dir / "scores.json").write_text(json.dumps(self.scores, indent=2))
        return {name: value for name, value in self.scores.items() if name != "PQ_per_class"}
