"""The demo's fused detector against a plain BEVFusion-style model: same harness, data, stages and samples seen.

Plain means what the two BEVFusions (Liu et al., ICRA 2023; Liang et al., NeurIPS 2022) have: sparse 3D convolutions on
the LiDAR's voxels, a ResNet of one branch on the images, Lift-Splat with LiDAR points to guide depth, the two maps
concatenated and mixed by a 3x3 convolution with weighted channels, no second stage. Decoder, head, losses, augmentation
and image size are the demo's in both, and both learn in stages as `make demo` does: the LiDAR detector, then both
sensors from where it ended. Needs spconv (extra [spconv]).

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/peers/bevfusion.py [--data data/synthetic] [--epochs 7] [--stage-epochs 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import ROOT, add_arguments, first_stage, lidar_config, print_table, train_and_score

# isort: split
from perception.engine.demo import begun_from
from perception.engine.run import evaluate, load_config, train

LIDAR = {"ours": "demo_lidar.py", "plain": "demo_lidar_spconv.py"}


def make_plain(config: Any) -> None:
    network = config.model.network
    network.second_stage = None
    camera = network.get("camera")
    if camera is None:
        return
    camera.backbone.dilations = (1,)
    camera.lift.scale_aware = False
    camera.lift.valid_ranges_px = ((0.0, 1e8),)
    camera.lift.ground_z_m = None
    camera.semantic = None
    other = load_config(ROOT / "configs" / "demo_lidar_spconv.py").model.network
    network.lidar = other.lidar
    network.fuser.update(in_channels=dict(other.fuser.in_channels, camera=camera.lift.channels), kernel=3)


def run(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one of them in its stages, score and time it."""
    alone = lidar_config(args.data, args.epochs, args.lr, LIDAR[name], float32=False)
    config = lidar_config(args.data, args.stage_epochs, args.lr, "demo_fusion.py", float32=False)
    alone.randomness.seed = config.randomness.seed = args.seed
    if name == "plain":
        make_plain(alone)
        make_plain(config)
    lidar_dir = args.work_dir / name / "lidar"
    interrupted = args.resume and (lidar_dir / "last_checkpoint").is_file()
    checkpoint = train(copy.deepcopy(alone), lidar_dir, resume=interrupted)
    begin = begun_from(checkpoint)
    network = config.model.network
    config.model.part_checkpoints = {k: v for k, v in begin["model.part_checkpoints"].items() if network[k] is not None}
    config.model.frozen = begin["model.frozen"]
    row = train_and_score(name, config, args.work_dir, args.resume)
    # It counts those of the stage with both sensors.
    row["samples"] += row["samples"] // args.stage_epochs * args.epochs
    row["lidar_alone"] = round(evaluate(copy.deepcopy(alone), checkpoint, lidar_dir / "test")["fused"]["NDS"], 4)
    if network.second_stage is not None:
        before = first_stage(config, args.work_dir / name / "latest.pth", args.work_dir / name / "test")
        row["first_stage"] = {key: round(before[key], 4) for key in ("NDS", "mAP")}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/peers_fused", epochs=7)
    parser.add_argument("--stage-epochs", type=int, default=5, help="with both sensors (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another needs another --work-dir (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=tuple(LIDAR), default=list(LIDAR), help="which to run")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        try:
            rows.append(run(name, args))
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
