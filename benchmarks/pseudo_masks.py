"""How good pseudo masks are before and after anything is learnt: their mean IoU with the truth, by terms of the cost.

Colour is what the image gives; "true semantics" stands for a semantic branch without error, which bounds what
learning it can bring.

python benchmarks/pseudo_masks.py [--data data/synthetic] [--images 24]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from perception.camera.pseudo_masks import CostWeights, Targets, class_costs, mask_iou, pseudo_masks, step_costs
from perception.panoptic.dataset import PanopticDataset

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "distance alone": CostWeights(0.0, 0.0, 0.0),
    "colour": CostWeights(0.0, 1.0, 0.0),
    "colour, times 4": CostWeights(0.0, 4.0, 0.0),
    "true semantics in steps": CostWeights(1.0, 0.0, 0.0, class_likelihood=0.0),
    "true semantics": CostWeights(1.0, 0.0, 0.0),
    "true semantics and colour": CostWeights(1.0, 1.0, 0.0),
}


def mean_ious(data: PanopticDataset, images: int) -> dict[str, float]:
    """Mean IoU (%) over the targets of so many images, evenly spread."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    for i in np.linspace(0, len(data) - 1, min(images, len(data))).astype(int).tolist():
        sample, image = data[i]["data_samples"], data[i]["inputs"][None].float() / 255
        if not len(sample.points):
            continue
        truth, classes = Targets(sample.labels, sample.index), len(data.metainfo["classes"])
        colour = F.adaptive_avg_pool2d(image, truth.map.shape)
        labels = torch.cat((truth.labels, torch.tensor([classes])))[truth.map]  # void is a class of its own
        semantic = 8.0 * F.one_hot(labels, classes + 1).permute(2, 0, 1)[None]
        embedding = torch.zeros(1, 1, *truth.map.shape)
        for name, weights in VARIANTS.items():
            costs = step_costs(semantic, colour, embedding, weights)
            (masks,) = pseudo_masks(costs, [sample.points], class_costs(semantic, weights))
            found[name].append(mask_iou(masks, truth)[: len(masks.labels)].numpy())
    return {name: 100 * float(np.concatenate(values).mean()) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with panoptic files")
    parser.add_argument("--images", type=int, default=24, help="default: %(default)s")
    args = parser.parse_args()
    print(f"{'points per target':20}" + "".join(f"{name:>28}" for name in VARIANTS))
    for name, points in (("1", 1), ("10", 10), ("LiDAR", str(args.data / "points_train.json"))):
        data = PanopticDataset(str(args.data / "panoptic_train.json"), str(args.data), (128, 352), points=points)
        values = mean_ious(data, args.images)
        print(f"{name:20}" + "".join(f"{values[variant]:28.1f}" for variant in VARIANTS), flush=True)


if __name__ == "__main__":
    main()
