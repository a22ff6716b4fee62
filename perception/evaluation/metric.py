"""The nuScenes score as a metric of mmengine's evaluator."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from perception.evaluation.nuscenes_eval import evaluate_results
from perception.evaluation.nuscenes_results import NuScenesResults

SUMMARY = ("NDS", "mAP", "mAP_present", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


@METRICS.register_module()
class NuScenesDetectionMetric(BaseMetric):
    """Writes the submission file of a data set and scores it with nuscenes-devkit.

    out_dir: receives `results.json` (the submission) and `scores.json` (everything that evaluate_results returns)
    dataroot, version: the nuScenes dataroot with the annotations; by default those of the data set's metainfo
    split: the split that the data set should be, by default that of its metainfo; a data set that lacks samples of it
        is scored on those it has, and the scores say so
    format_only: write the submission only, as for the test split
    use_camera, use_lidar: flags of the submission

    The metainfo of each data sample holds `token` and `lidar2global` [4,4]; its `pred_instances_3d` holds `scores_3d`
    [K], `labels_3d` [K] and `bboxes_3d` (LiDARInstance3DBoxes) or `boxes` [K,9] (LiDAR frame, gravity centre), and
    where predicted `attrs` [K] (indices into the devkit's ATTRIBUTE_NAMES).
    """

    default_prefix = "nuscenes"

    def __init__(
        self,
        out_dir: str,
        dataroot: str | None = None,
        version: str | None = None,
        split: str | None = None,
        format_only: bool = False,
        use_camera: bool = True,
        use_lidar: bool = True,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        # mmengine's default is a folder in the working directory.
        collect_dir = str(Path(out_dir) / "parts") if collect_device == "cpu" else None
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.dataroot, self.version, self.split = dataroot, version, split
        self.out_dir = Path(out_dir)
        self.format_only = format_only
        self.use_camera, self.use_lidar = use_camera, use_lidar
        self.scores: dict[str, Any] = {}
        self._size = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of one batch (dictionaries of Det3DDataSample.to_dict()) as numpy arrays."""
        for sample in data_samples:
            for field in ("token", "lidar2global", "pred_instances_3d"):
                if field not in sample:
                    raise KeyError(
                        f"data sample lacks '{field}': the packing transform must keep it (has {sorted(sample)})"
                    )
            prediction = sample["pred_instances_3d"]
            self.results.append(
                {
                    "token": sample["token"],
                    "global_from_lidar": np.asarray(sample["lidar2global"], np.float64),
                    "boxes": _boxes(prediction),
                    "scores": _numpy(prediction["scores_3d"]),
                    "labels": _numpy(prediction["labels_3d"]),
                    "attributes": _numpy(prediction["attrs"]) if "attrs" in prediction else None,
                }
            )

    def evaluate(self, size: int) -> dict[str, Any]:
        """Gather every rank's samples and score them; `size` is the length of the data set.

        Raises RuntimeError where a sample of the data set has no prediction.
        """
        self._size = size
        # mmengine cuts what it gathered to the size it is given, trusting that the samples a sampler repeated are at
        # the end. They are told by their tokens here, so nothing is to be cut.
        metrics: dict[str, Any] = super().evaluate(sys.maxsize)
        # The first process has scored them all.
        scores = [self.scores]
        broadcast_object_list(scores)
        self.scores = scores[0]
        return metrics

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Write results.json and, unless format_only, scores.json. Returns the summary and the AP per present class."""
        by_token = {result["token"]: result for result in results}
        if len(by_token) != self._size:
            raise RuntimeError(f"predictions for {len(by_token)} samples, but the data set has {self._size}")
        assert self.dataset_meta is not None
        collected = NuScenesResults(self.dataset_meta["classes"], use_camera=self.use_camera, use_lidar=self.use_lidar)
        for result in by_token.values():
            collected.add(**result)
        path = collected.write(self.out_dir / "results.json")
        if self.format_only:
            print_log(f"submission written to {path}", "current")
            return {}
        dataroot = self.dataroot or self.dataset_meta["dataroot"]
        version = self.version or self.dataset_meta["version"]
        split = self.split or self.dataset_meta.get("split")
        self.scores = evaluate_results(path, dataroot, version, split, self.out_dir / "scores.json")
        if self.scores["scored"]["restricted"]:
            scored = self.scores["scored"]
            text = f"scored on {scored['samples']} of the {scored['samples_in_split']} samples of split {split}"
            print_log(text, "current", logging.WARNING)
        flat = {key: self.scores[key] for key in SUMMARY if self.scores[key] is not None}
        return flat | {f"AP/{name}": self.scores["AP"][name] for name in self.scores["present"]}


def _boxes(prediction: dict[str, Any]) -> np.ndarray:
    """[K,9] with the gravity centre, from our tensor or from mmdet3d's boxes (whose tensor holds the bottom centre)."""
    if "boxes" in prediction:
        return _numpy(prediction["boxes"])
    boxes = prediction["bboxes_3d"]
    table = np.zeros((len(boxes), 9), np.float32)
    table[:, : boxes.tensor.shape[1]] = _numpy(boxes.tensor)
    table[:, :3] = _numpy(boxes.gravity_center)
    return table


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()
