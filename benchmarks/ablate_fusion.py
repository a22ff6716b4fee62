"""What the cameras bring: the demo's detector with either fuser, against its branches trained alone.

configs/demo_fusion.py, demo_fusion_gated.py, demo_lidar.py and demo_camera.py with the same data, samples and seeds. Of
a fused detector the same weights are also scored with one of the sensors off. "staged" is demo_fusion.py from the
branches of "lidar" of its seed and "camera" of seed 0, which are trained first where they are not there; it sees each
sample twice as often as they, in two stages. A run that is finished is kept in --work-dir.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/ablate_fusion.py [--data data/synthetic] [--epochs 7] [--seeds 0 1 2] [--only camera staged]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path
from typing import Any

import seeds
from training import add_arguments, lidar_config

from perception.engine.run import SENSORS, evaluate, train

CONFIGS = {
    "lidar": "demo_lidar.py",
    "concat": "demo_fusion.py",
    "gated": "demo_fusion_gated.py",
    "camera": "demo_camera.py",
    "staged": "demo_fusion.py",
}


def run(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them."""
    work_dir = args.work_dir / f"{name}_{seed}"
    return seeds.kept(work_dir, args, lambda: train_and_score(name, seed, args, work_dir))


def train_and_score(name: str, seed: int, args: argparse.Namespace, work_dir: Path) -> dict[str, Any]:
    config = lidar_config(args.data, args.epochs, args.lr, CONFIGS[name], float32=False)
    config.randomness.seed = seed
    if name == "staged":
        parts = {"lidar": seed, "camera": 0}
        for part, part_seed in parts.items():
            run(part, part_seed, args)
        config.model.part_checkpoints = {n: str(args.work_dir / f"{n}_{k}" / "latest.pth") for n, k in parts.items()}
    interrupted = args.resume and (work_dir / "last_checkpoint").is_file()
    checkpoint = train(copy.deepcopy(config), work_dir, resume=interrupted)
    sensors = ("fused",) if name in ("lidar", "camera") else tuple(SENSORS)
    scores = evaluate(copy.deepcopy(config), checkpoint, work_dir / "test", sensors)
    row = {"name": name, "seed": seed, **{key: round(100 * value["NDS"], 1) for key, value in scores.items()}}
    return row | {"AP": {key: round(100 * value, 1) for key, value in scores["fused"]["AP"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/ablate_fusion", epochs=7)
    seeds.add_arguments(parser, tuple(CONFIGS), ("lidar", "concat", "gated"))
    args = parser.parse_args()
    rows = seeds.every_row(lambda name, seed: run(name, seed, args), args)
    seeds.print_table(rows, tuple(SENSORS), "NDS")
    print("AP of the classes, means over seeds:")
    for label in rows[0]["AP"]:
        means = {n: statistics.mean(row["AP"][label] for row in rows if row["name"] == n) for n in args.only}
        print(f"{label:22}" + "".join(f"{n:>8} {value:5.1f}" for n, value in means.items()))


if __name__ == "__main__":
    main()
