"""What a second stage brings: by the map alone, with the images' classes, their features too, and crops of them too.

The candidates are those of configs/demo_fusion.py with all but the cameras from a LiDAR detector (demo_lidar.py) and
the camera branch from demo_camera.py, whose map says nothing yet; both are trained before, on the same data
(benchmarks/ablate_fusion.py does so). What is known of the candidates is collected once, from frames as they are. Then
every second stage is trained on it alone, with the demo's optimizer, and scored on the held-out scenes. Of several
LiDAR detectors, one of each seed, the means are printed.

python benchmarks/ablate_second_stage.py LIDAR.pth [LIDAR.pth ...] --camera CAMERA.pth [--data data/world] [--every 3]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from training import ROOT, lidar_config

from perception.detector import FusionDetector, ground_truth
from perception.engine.checkpoints import load_part
from perception.engine.muon import MuonAdamW
from perception.evaluation.nuscenes_eval import evaluate_results
from perception.evaluation.nuscenes_results import NuScenesResults
from perception.head.center_head import Detections
from perception.head.crop_encoder import crops_of
from perception.head.second_stage import Evidence, SecondStage, corrected

from mmdet3d.registry import DATASETS, MODELS  # isort: skip (the detector makes mmdet3d importable)
from mmengine.registry import init_default_scope  # isort: skip

BUT_THE_CAMERAS = ("lidar", "fuser", "decoder", "head")
VARIANTS = ("none", "map", "classes", "features", "crops")


class Seen(NamedTuple):
    """A frame: its data sample, the first stage's candidates, what is known of them but for crops, images with their
    matrices and mask, and boxes, labels and sample of the truth."""

    sample: Any
    found: Detections
    known: Evidence
    images: tuple[Tensor, Tensor, Tensor]
    truth: tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def collect(config: Any, data: Path, split: str, every: int = 1) -> list[Seen]:
    """What the detector of a config knows of every `every`th frame of a split."""
    model: FusionDetector = MODELS.build(config.model).eval()
    for part, path in model.part_checkpoints.items():
        load_part(model.network, part, path)
    options = copy.deepcopy(config.test_dataloader.dataset)
    options.update(ann_file=str(data / f"nuscenes_infos_{split}.json"), test_mode=False)
    boxes = {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True}
    options.pipeline = [*options.pipeline[:2], boxes, *options.pipeline[2:]]
    dataset = DATASETS.build(options)
    seen = []
    for i in range(0, len(dataset), every):
        item = dataset[i]
        samples = [item["data_samples"]]
        inputs = {key: [value] for key, value in item["inputs"].items()}
        frames = model.data_preprocessor({"inputs": inputs, "data_samples": samples})["inputs"]
        found, known = model.network.evidence(model.network(frames), frames)
        # A frame's evidence is some MB, most of it the features.
        known = known._replace(image=known.image.half(), bev=known.bev.half(), crops=None)
        images = frames.images, frames.image_from_lidar, frames.camera_mask
        seen.append(Seen(samples[0], found, known, images, ground_truth(samples)))
        if i % 100 == 0:
            print(f"{split}: frame {i} of {len(dataset)}", file=sys.stderr, flush=True)
    return seen


def told(frame: Seen, variant: str, training: bool) -> Evidence:
    """What a variant is told of a frame."""
    known = Evidence(*(None if field is None else field.float() for field in frame.known))
    if variant == "map":
        return Evidence(known.numbers, known.bev)
    crops, shapes = crops_of(frame.found.boxes, *frame.images, variation=float(training))
    if variant != "crops":
        crops, shapes = torch.zeros_like(crops), torch.zeros_like(shapes)
    image = torch.zeros_like(known.image) if variant == "classes" else known.image
    return known._replace(image=image, crops=crops, shapes=shapes)


def learn(stage: SecondStage, frames: list[Seen], variant: str, epochs: int, lr: float) -> None:
    """Train a second stage by the demo's optimizer and schedule, without its averaged weights."""
    optimizer = MuonAdamW(stage.train().parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * len(frames), pct_start=0.3, cycle_momentum=False
    )
    for _ in range(epochs):
        for i in torch.randperm(len(frames)).tolist():
            corrections = stage(*told(frames[i], variant, training=True))
            loss = torch.stack(list(stage.loss(corrections, frames[i].found, *frames[i].truth).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def score(stage: SecondStage | None, frames: list[Seen], variant: str, data: Path, out_dir: Path) -> dict[str, Any]:
    """The official scores of a second stage, or of none, on the frames of the val split."""
    meta = json.loads((data / "nuscenes_infos_val.json").read_text())["metainfo"]
    results = NuScenesResults(list(meta["categories"]), use_camera=True, use_lidar=True)
    for frame in frames:
        out = frame.found
        if stage is not None:
            out = corrected(out, stage.eval()(*told(frame, variant, training=False)).by_all)
        boxes, scores, labels = (field[0][out.scores[0] >= 0.02].numpy() for field in out)
        results.add(frame.sample.token, boxes, scores, labels, frame.sample.lidar2global)
    return evaluate_results(results.write(out_dir / variant / "results.json"), data, meta["version"], "val")


def rows_of(lidar: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The scores of every variant behind one LiDAR detector."""
    config = lidar_config(args.data, 1, args.lr, "demo_fusion.py", float32=False)
    config.model.part_checkpoints = dict.fromkeys(BUT_THE_CAMERAS, str(lidar)) | {"camera": str(args.camera)}
    train, val = collect(config, args.data, "train", args.every), collect(config, args.data, "val")
    rows = []
    for variant in VARIANTS:
        torch.manual_seed(0)
        stage = None if variant == "none" else MODELS.build(config.model).network.second_stage
        if stage is not None:
            learn(stage, train, variant, args.epochs, args.lr)
        scores = score(stage, val, variant, args.data, args.work_dir / lidar.resolve().parent.name)
        numbers = {key: round(100 * scores[key], 1) for key in ("NDS", "mAP", "mASE", "mAOE", "mAVE")}
        rows.append(
            {"lidar": str(lidar), "second_stage": variant, **numbers}
            | {"AP": {key: round(100 * value, 1) for key, value in scores["AP"].items()}}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lidar", type=Path, nargs="+", help="checkpoints of demo_lidar.py, one of each seed")
    parser.add_argument("--camera", type=Path, required=True, help="checkpoint of demo_camera.py")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "world", help="dataroot with info files")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs" / "ablate_second_stage", help="results")
    parser.add_argument("--every", type=int, default=1, help="train on every Nth frame (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=1, help="passes over those (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="top of the learning rate (default: %(default)s)")
    args = parser.parse_args()
    init_default_scope("mmdet3d")
    rows = []
    for lidar in args.lidar:
        try:
            rows += rows_of(lidar, args)
        except (FileNotFoundError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"{'second stage':14}{'100 NDS: mean, range':>24}{'100 mAP':>10}")
    for variant in VARIANTS:
        own = [row for row in rows if row["second_stage"] == variant]
        nds, mean_ap = ([row[key] for row in own] for key in ("NDS", "mAP"))
        span = f"{statistics.mean(nds):.1f} {min(nds):.1f}-{max(nds):.1f}"
        print(f"{variant:14}{span:>24}{statistics.mean(mean_ap):10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
