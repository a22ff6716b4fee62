"""What the cameras bring: the demo's detector with either fuser, against its branches trained alone.

configs/demo_fusion.py, demo_fusion_gated.py, demo_lidar.py and demo_camera.py with the same data, samples and seeds. Of
a fused detector the same weights are also scored with one of the sensors off, and with both as the first stage finds
boxes, before the second stage. Four more go on from "lidar" of their seed, which is trained first where it is not
there, for --stage-epochs: "staged" with both sensors, as `make demo` does, "unfrozen" so, but with the LiDAR branch
learning too, "pretrained" as "staged", but from the camera branch of "camera", and "longer" with the LiDAR alone, at a
third of the learning rate. A run that is finished is kept in --work-dir. What the second stage brings is taken apart by
benchmarks/ablate_second_stage.py.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/ablate_fusion.py [--data data/synthetic] [--epochs 7] [--seeds 0 1 2] [--only lidar longer staged]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path
from typing import Any

import seeds
from training import add_arguments, first_stage, lidar_config

from perception.engine.demo import begun_from
from perception.engine.run import SENSORS, evaluate, train

CONFIGS = {
    "lidar": "demo_lidar.py",
    "concat": "demo_fusion.py",
    "gated": "demo_fusion_gated.py",
    "camera": "demo_camera.py",
    "longer": "demo_lidar.py",
    "staged": "demo_fusion.py",
    "unfrozen": "demo_fusion.py",
    "pretrained": "demo_fusion.py",
}
LATER = ("longer", "staged", "unfrozen", "pretrained")  # begin where "lidar" ended


def run(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them."""
    work_dir = args.work_dir / f"{name}_{seed}"
    return seeds.kept(work_dir, args, lambda: train_and_score(name, seed, args, work_dir))


def train_and_score(name: str, seed: int, args: argparse.Namespace, work_dir: Path) -> dict[str, Any]:
    epochs = args.stage_epochs if name in LATER else args.epochs
    lr = args.lr / 3 if name == "longer" else args.lr
    config = lidar_config(args.data, epochs, lr, CONFIGS[name], float32=False)
    config.randomness.seed = seed
    if name in LATER:
        run("lidar", seed, args)
        begin = begun_from(args.work_dir / f"lidar_{seed}" / "latest.pth")
        config.model.part_checkpoints = begin["model.part_checkpoints"]
        if name in ("staged", "pretrained"):
            config.model.frozen = begin["model.frozen"]
        if name == "pretrained":
            run("camera", seed, args)
            config.model.part_checkpoints["camera"] = str(args.work_dir / f"camera_{seed}" / "latest.pth")
    interrupted = args.resume and (work_dir / "last_checkpoint").is_file()
    checkpoint = train(copy.deepcopy(config), work_dir, resume=interrupted)
    sensors = tuple(SENSORS) if config.model.network.lidar and config.model.network.camera else ("fused",)
    scores = evaluate(copy.deepcopy(config), checkpoint, work_dir / "test", sensors)
    if config.model.network.second_stage is not None:
        scores["first_stage"] = first_stage(config, checkpoint, work_dir / "test")
    row = {"name": name, "seed": seed, **{key: round(100 * value["NDS"], 1) for key, value in scores.items()}}
    return row | {"AP": {key: round(100 * value, 1) for key, value in scores["fused"]["AP"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/ablate_fusion", epochs=7)
    parser.add_argument("--stage-epochs", type=int, default=5, help="of a later stage (default: %(default)s)")
    seeds.add_arguments(parser, tuple(CONFIGS), ("lidar", "longer", "staged"))
    args = parser.parse_args()
    rows = seeds.every_row(lambda name, seed: run(name, seed, args), args)
    for row in rows:
        row["mAP"] = statistics.mean(row["AP"].values())
    seeds.print_table(rows, ("fused", "mAP", "first_stage", "lidar_only", "camera_only"), "NDS, and mAP of fused")
    print("AP of the classes, means over seeds:")
    for label in rows[0]["AP"]:
        means = {n: statistics.mean(row["AP"][label] for row in rows if row["name"] == n) for n in args.only}
        print(f"{label:22}" + "".join(f"{n:>9} {value:5.1f}" for n, value in means.items()))


if __name__ == "__main__":
    main()
