"""Detection on frames without annotations, in three lines:

from perception.engine.inference import Detector
detector = Detector("configs/demo_fusion.py", "work_dirs/demo/latest.pth")
detections = detector(read_frames("my_folder")[0])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet3d.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from tqdm import tqdm

from perception.datasets.frames import frame_inputs, read_frames
from perception.datasets.nuscenes_infos import CLASSES
from perception.engine.checkpoints import load_weights
from perception.engine.run import load_config
from perception.evaluation.json_file import write_json
from perception.visualization.frame_picture import frame_picture, write_png


class FrameDetections(NamedTuple):
    """Attributes:
    boxes: [K,9] float32, LiDAR frame, by descending score.
    scores: [K] float32.
    labels: [K] int64 into class_names.
    class_names: names of the classes.
    inputs: what the network saw (PackFrame's inputs).
    bad_files: {"path", "problem"} of each file that on_bad_data="skip" went on without.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    inputs: Mapping[str, torch.Tensor]
    bad_files: Sequence[Mapping[str, str]] = ()

    def as_json(self, score: float = 0.0) -> list[dict[str, Any]]:
        """One dictionary per box: class, score, centre_m, size_m (length width height), yaw_rad, velocity_mps."""
        return [
            {
                "class": self.class_names[label],
                "score": round(float(s), 4),
                "centre_m": [round(float(v), 3) for v in box[:3]],
                "size_m": [round(float(v), 3) for v in box[3:6]],
                "yaw_rad": round(float(box[6]), 4),
                "velocity_mps": [round(float(v), 3) for v in box[7:9]],
            }
            for box, s, label in zip(self.boxes, self.scores, self.labels, strict=True)
            if s >= score
        ]


class Detector:
    """A trained detector that takes frames as `read_frames` gives them.

    Args:
        config, checkpoint: as tools/train.py takes and writes them; the config may be one that `load_config` gave.
        device: where to run; by default the GPU if there is one.
    """

    def __init__(self, config: str | Path | Config, checkpoint: str | Path, device: str | None = None) -> None:
        cfg = config if isinstance(config, Config) else load_config(config)
        self.model = MODELS.build(cfg.model)
        load_weights(self.model, str(checkpoint))
        self.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.pipeline = Compose([TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline])
        self.class_names = tuple(cfg.get("class_names", CLASSES))

    def __call__(self, frame: dict[str, Any]) -> FrameDetections:
        """Detect in one frame; sensors that the frame lacks are done without."""
        sample = frame_inputs(frame, self.pipeline)
        with torch.no_grad():
            result = self.model.test_step(pseudo_collate([sample]))[0].pred_instances_3d
        return FrameDetections(
            result.boxes.cpu().numpy(),
            result.scores_3d.cpu().numpy(),
            result.labels_3d.cpu().numpy(),
            self.class_names,
            sample["inputs"],
            sample["data_samples"].metainfo.get("bad_files", ()),
        )


def infer_path(
    config: str | Path | Config,
    checkpoint: str | Path,
    path: str | Path,
    out: str | Path,
    score: float,
    pictures: bool,
    progress: bool = True,
) -> dict[str, Any]:
    """Detect in every frame at `path`; writes out/<frame>.json and, if asked, out/<frame>.png.

    Returns {"frames": their number, "out", "bad_files": [{"path", "problem"}]}.
    """
    frames, bad = read_frames(path), {}
    detector, out = Detector(config, checkpoint), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for frame in tqdm(frames, desc="detecting", unit="frame", disable=None if progress else True):
        detections = detector(frame)
        bad.update({file["path"]: dict(file) for file in detections.bad_files})
        name = str(frame["token"])
        write_json(out / f"{name}.json", {"frame": name, "boxes": detections.as_json(score)}, indent=1)
        if pictures:
            write_png(out / f"{name}.png", _picture(detections, name, score))
    return {"frames": len(frames), "out": str(out), "bad_files": list(bad.values())}


def _picture(detections: FrameDetections, title: str, score: float) -> np.ndarray:
    inputs = detections.inputs
    images: list[np.ndarray] = []
    matrices = np.zeros((0, 4, 4))
    if "images" in inputs:
        images = list(inputs["images"].permute(0, 2, 3, 1).numpy())
        matrices = inputs["image_from_lidar"].numpy()
    return frame_picture(
        images,
        matrices,
        inputs["points"].numpy() if "points" in inputs else np.zeros((0, 5)),
        detections.class_names,
        pred_boxes=detections.boxes,
        pred_scores=detections.scores,
        pred_labels=detections.labels,
        title=title,
        score_threshold=score,
    )
