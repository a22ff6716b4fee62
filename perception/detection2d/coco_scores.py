"""COCO's average precision, under the paper's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

# Of mmdet's names, which round to three digits.
SUMMARY = {
    "AP": "bbox_mAP",
    "AP50": "bbox_mAP_50",
    "AP75": "bbox_mAP_75",
    "AP_S": "bbox_mAP_s",
    "AP_M": "bbox_mAP_m",
    "AP_L": "bbox_mAP_l",
}


@METRICS.register_module()
class CocoScores(CocoMetric):
    """CocoMetric for boxes that writes `results.bbox.json` into a folder and keeps its scores.

    A detector that finds nothing scores 0, where mmdet gives no score at all; AP_S, AP_M and AP_L are None where the
    data set has no object of that size (below 32^2, below 96^2, and above, px of the recorded image).

    Args:
        ann_file: COCO JSON file.
        out_dir: folder for the results file.
        kwargs: of CocoMetric.
    """

    def __init__(self, ann_file: str, out_dir: str, **kwargs: Any) -> None:
        if not Path(ann_file).is_file():
            raise FileNotFoundError(f"no COCO file {ann_file}; make it with tools/create_data.py coco2d or nuimages")
        collect_dir = str(Path(out_dir) / "parts") if kwargs.get("collect_device", "cpu") == "cpu" else None
        super().__init__(ann_file=ann_file, classwise=True, **kwargs)
        self.collect_dir = collect_dir
        self.out_dir = Path(out_dir)
        self.scores: dict[str, Any] = {}

    def compute_metrics(self, results: list[Any]) -> dict[str, float | None]:
        """{AP, AP50, AP75, AP_S, AP_M, AP_L}; `scores` also holds AP_per_class {class: AP or None}."""
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self.outfile_prefix = str(self.out_dir / "results")
        found = super().compute_metrics(results)
        summary: dict[str, float | None] = {}
        for name, theirs in SUMMARY.items():
            value = found.get(theirs, 0.0)
            summary[name] = value if value >= 0 else None
        per_class = {}
        for name in self.dataset_meta["classes"]:
            value = float(found.get(f"{name}_precision", 0.0))
            per_class[name] = value if value == value else None  # NaN: no object of the class
        self.scores = {**summary, "AP_per_class": per_class}
        return summary
