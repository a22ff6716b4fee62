"""Masks from points against true masks on the synthetic images, and what each term of the pseudo masks' cost adds.

configs/panoptic_demo.py for each: the same images, steps and seeds. "one-boundary" is one point per target without the
boundary term, and so for the others. A run that is finished is kept in --work-dir.

python tools/create_data.py panoptic --root data/synthetic ...        (configs/panoptic_demo.py says how)
python tools/create_data.py point-labels ... --out data/synthetic/points_train.json
python benchmarks/ablate_panoptic.py [--data data/synthetic] [--seeds 0 1 2] [--only masks ten one lidar]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import seeds

import perception.engine  # noqa: F401  (mmdet imports on mmcv-lite after this)
from perception.engine.run import evaluate, load_config, train

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "panoptic_demo.py"
SCORES = ("PQ", "PQ_things", "PQ_stuff")
POINTS = "train_dataloader.dataset.points"
SUPERVISION: dict[str, dict[str, Any]] = {
    "masks": {"model.supervision": "masks"},
    "ten": {POINTS: 10},
    "one": {POINTS: 1},
    "lidar": {POINTS: "points_train.json"},
}
VARIANTS = SUPERVISION | {
    f"{points}-{term}": {**SUPERVISION[points], f"model.loss.costs.{term}": 0.0}
    for points in ("one", "ten", "lidar")
    for term in ("semantic", "boundary", "embedding")
}


def run(variant: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them; a run that is finished is read from its folder."""
    work_dir = args.work_dir / f"{variant}_{seed}"
    return seeds.kept(work_dir, args, lambda: train_and_score(variant, seed, args, work_dir))


def config_of(variant: str, seed: int, args: argparse.Namespace) -> Any:
    """The demo's config, changed for a variant."""
    changes = dict(VARIANTS[variant])
    if isinstance(changes.get(POINTS), str):
        changes[POINTS] = str(args.data / changes[POINTS])
    test_data = args.test_data or args.data
    for loader, root, split in (("train_dataloader", args.data, "train"), ("test_dataloader", test_data, "val")):
        changes[f"{loader}.dataset.data_root"] = str(root)
        changes[f"{loader}.dataset.ann_file"] = str(root / f"panoptic_{split}.json")
        changes[f"{loader}.dataset.size_hw"] = tuple(args.size)
    changes |= {
        "test_evaluator.ann_file": str(test_data / "panoptic_val.json"),
        "train_cfg.max_epochs": args.epochs,
        "randomness.seed": seed,
    }
    config = load_config(CONFIG, changes)
    config.param_scheduler[0].total_steps = args.epochs
    return config


def train_and_score(variant: str, seed: int, args: argparse.Namespace, work_dir: Path) -> dict[str, Any]:
    start = time.perf_counter()
    checkpoint = train(config_of(variant, seed, args), work_dir)
    train_s = time.perf_counter() - start
    scores = next(iter(evaluate(config_of(variant, seed, args), checkpoint, work_dir / "test").values()))
    row = {"name": variant, "seed": seed, **{name: round(100 * scores[name], 2) for name in SCORES}}
    return row | {"pseudo_mIoU": last_pseudo_miou(work_dir), "train_s": round(train_s)}


def last_pseudo_miou(work_dir: Path) -> float | None:
    """Mean IoU (%) of the pseudo masks with the truth over the last epoch; None under full supervision."""
    for path in sorted(work_dir.glob("*/vis_data/scalars.json"), reverse=True):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        logged = [(line["epoch"], line["pseudo_miou"]) for line in lines if "pseudo_miou" in line]
        if logged:
            return round(100 * statistics.mean(value for epoch, value in logged if epoch == logged[-1][0]), 1)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with panoptic files")
    parser.add_argument("--test-data", type=Path, help="dataroot whose panoptic_val.json scores (default: --data)")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs" / "ablate_panoptic")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the data (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 352), help="rows and columns (default: 128 352)")
    seeds.add_arguments(parser, tuple(VARIANTS), [n for n in VARIANTS if n in SUPERVISION or n.startswith("one-")])
    args = parser.parse_args()
    rows = seeds.every_row(lambda name, seed: run(name, seed, args), args)
    seeds.print_table(rows, (*SCORES, "pseudo_mIoU"), "PQ and IoU")


if __name__ == "__main__":
    main()
