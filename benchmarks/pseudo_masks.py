"""How good pseudo masks are before and after anything is learnt, by terms of the cost: their mean IoU with the truth,
and the share of things whose mask has an IoU over 0.5, which is what PQ counts (%).

Colour is what the image gives; "true semantics" stands for a semantic branch without error, which bounds what
learning it can bring. With a checkpoint of configs/panoptic_demo.py, what its branches give, with one term less each.

python benchmarks/pseudo_masks.py [--data data/synthetic] [--images 24] [--size 128 352] [--checkpoint FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.camera.panoptic import PanopticNetwork
from perception.camera.pseudo_masks import (
    CostWeights,
    Targets,
    class_costs,
    known_classes,
    mask_iou,
    pseudo_masks,
    step_costs,
)
from perception.engine.build import build
from perception.engine.run import load_config
from perception.panoptic.dataset import PanopticDataset
from perception.panoptic.files import read_json

ROOT = Path(__file__).resolve().parents[1]
UNLEARNT = {
    "distance alone": CostWeights(0.0, 0.0, 0.0),
    "colour": CostWeights(0.0, 1.0, 0.0),
    "colour, times 4": CostWeights(0.0, 4.0, 0.0),
    "true semantics in steps": CostWeights(1.0, 0.0, 0.0, class_likelihood=0.0),
    "true semantics": CostWeights(1.0, 0.0, 0.0),
    "true semantics and colour": CostWeights(1.0, 1.0, 0.0),
}
LEARNT = {
    "all terms": CostWeights(),
    "no semantic": CostWeights(semantic=0.0),
    "no boundary": CostWeights(boundary=0.0),
    "no embedding": CostWeights(embedding=0.0),
}


def read_network(checkpoint: Path) -> PanopticNetwork:
    """The demo's network with a checkpoint's weights."""
    model = build(load_config(ROOT / "configs" / "panoptic_demo.py").model)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
    network: PanopticNetwork = model.eval().network
    return network


def true_semantics(truth: Targets, classes: int) -> tuple[Tensor, Tensor]:
    """Logits [1,classes+1,h,w] of a semantic branch without error, void a class of its own; and no embedding."""
    labels = torch.cat((truth.labels, torch.tensor([classes])))[truth.map]
    semantic = 8.0 * F.one_hot(labels, classes + 1).permute(2, 0, 1)[None]
    return semantic, torch.zeros(1, 1, *truth.map.shape)


@torch.no_grad()
def ious(data: PanopticDataset, images: int, network: PanopticNetwork | None) -> dict[str, tuple[float, float]]:
    """Mean IoU over the targets of so many images, evenly spread, and the share of things over 0.5 (%)."""
    variants = UNLEARNT if network is None else LEARNT
    things = sum(row["isthing"] for row in read_json(data.ann_file)["categories"])
    found: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    thing: list[np.ndarray] = []
    for i in np.linspace(0, len(data) - 1, min(images, len(data))).astype(int).tolist():
        sample, image = data[i]["data_samples"], data[i]["inputs"][None]
        if not len(sample.points):
            continue
        truth = Targets(sample.labels, sample.index)
        colour = F.adaptive_avg_pool2d(image.float() / 255, truth.map.shape)
        if network is None:
            semantic, embedding = true_semantics(truth, len(data.metainfo["classes"]))
        else:
            output = network(image)
            semantic, embedding = known_classes(output.semantic, [sample.points]), output.embedding
        for name, weights in variants.items():
            costs = step_costs(semantic, colour, embedding, weights)
            (masks,) = pseudo_masks(costs, [sample.points], class_costs(semantic, weights), things, weights.stuff_reach)
            found[name].append(mask_iou(masks, truth)[: len(masks.labels)].numpy())
        thing.append((masks.labels < things).numpy())
    of_things = np.concatenate(thing)
    joined = {name: np.concatenate(values) for name, values in found.items()}
    return {name: (100 * float(v.mean()), 100 * float((v[of_things] > 0.5).mean())) for name, v in joined.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with panoptic files")
    parser.add_argument("--images", type=int, default=24, help="default: %(default)s")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 352), help="rows and columns (default: 128 352)")
    parser.add_argument("--checkpoint", type=Path, help="of configs/panoptic_demo.py")
    args = parser.parse_args()
    network = None if args.checkpoint is None else read_network(args.checkpoint)
    print(f"{'points per target':20}" + "".join(f"{name:>28}" for name in (UNLEARNT if network is None else LEARNT)))
    for name, points in (("1", 1), ("10", 10), ("LiDAR", str(args.data / "points_train.json"))):
        data = PanopticDataset(str(args.data / "panoptic_train.json"), str(args.data), args.size, points=points)
        values = ious(data, args.images, network)
        print(f"{name:20}" + "".join(f"{mean:21.1f} /{share:5.1f}" for mean, share in values.values()), flush=True)


if __name__ == "__main__":
    main()
