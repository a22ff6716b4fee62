"""Masks from points against true masks on the synthetic images, and what each term of the pseudo masks' cost adds.

configs/panoptic_demo.py for each: the same images, steps and seeds.

python tools/create_data.py panoptic --root data/synthetic ...        (configs/panoptic_demo.py says how)
python tools/create_data.py point-labels ... --out data/synthetic/points_train.json
python benchmarks/ablate_panoptic.py [--data data/synthetic] [--seeds 0] [--only masks ten one lidar]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import perception.engine  # noqa: F401  (mmdet imports on mmcv-lite after this)
from perception.engine.run import evaluate, load_config, train

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "panoptic_demo.py"
SCORES = ("PQ", "PQ_things", "PQ_stuff")
POINTS = "train_dataloader.dataset.points"
VARIANTS: dict[str, dict[str, Any]] = {
    "masks": {"model.supervision": "masks"},
    "ten": {POINTS: 10},
    "one": {POINTS: 1},
    "lidar": {POINTS: "points_train.json"},
    "one-semantic": {POINTS: 1, "model.loss.costs.semantic": 0.0},
    "one-boundary": {POINTS: 1, "model.loss.costs.boundary": 0.0},
    "one-embedding": {POINTS: 1, "model.loss.costs.embedding": 0.0},
}


def run(variant: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them; a run that is finished is read from its folder."""
    work_dir = args.work_dir / f"{variant}_{seed}"
    finished = work_dir / "row.json"
    if finished.is_file():
        row: dict[str, Any] = json.loads(finished.read_text())
        return row
    changes = dict(VARIANTS[variant])
    if isinstance(changes.get(POINTS), str):
        changes[POINTS] = str(args.data / changes[POINTS])
    for loader, split in (("train_dataloader", "train"), ("test_dataloader", "val")):
        changes[f"{loader}.dataset.data_root"] = str(args.data)
        changes[f"{loader}.dataset.ann_file"] = str(args.data / f"panoptic_{split}.json")
        changes[f"{loader}.dataset.size_hw"] = tuple(args.size)
    changes |= {
        "test_evaluator.ann_file": str(args.data / "panoptic_val.json"),
        "train_cfg.max_epochs": args.epochs,
        "randomness.seed": seed,
    }
    config = load_config(CONFIG, changes)
    config.param_scheduler[0].total_steps = args.epochs
    start = time.perf_counter()
    checkpoint = train(config, work_dir)
    train_s = time.perf_counter() - start
    config = load_config(CONFIG, changes)
    scores = next(iter(evaluate(config, checkpoint, work_dir / "test").values()))
    row = {"name": variant, "seed": seed, **{name: round(100 * scores[name], 1) for name in SCORES}}
    row |= {"pseudo_miou": last_pseudo_miou(work_dir), "train_s": round(train_s)}
    finished.write_text(json.dumps(row))
    return row


def last_pseudo_miou(work_dir: Path) -> float | None:
    """Mean IoU (%) of the pseudo masks with the truth over the last epoch; None under full supervision."""
    for path in sorted(work_dir.glob("*/vis_data/scalars.json"), reverse=True):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        logged = [(line["epoch"], line["pseudo_miou"]) for line in lines if "pseudo_miou" in line]
        if logged:
            return round(100 * statistics.mean(value for epoch, value in logged if epoch == logged[-1][0]), 1)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with panoptic files")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs" / "ablate_panoptic")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the data (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 352), help="rows and columns (default: 128 352)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS), help="run some of them")
    args = parser.parse_args()
    print(f"{'supervision':16}" + "".join(f"{name:>12}" for name in (*SCORES, "pseudo_mIoU")))
    for variant in args.only:
        for seed in args.seeds:
            try:
                row = run(variant, seed, args)
            except FileNotFoundError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            values = "".join(f"{row[name]:>12}" for name in SCORES)
            print(f"{variant:16}{values}{row['pseudo_miou'] or '-':>12}", flush=True)
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
