"""The demo's fused detector against a plain BEVFusion-style model: same harness, data, schedule and samples seen.

Plain means what the two BEVFusions (Liu et al., ICRA 2023; Liang et al., NeurIPS 2022) have: sparse 3D convolutions on
the LiDAR's voxels, a ResNet of one branch on the images, Lift-Splat with LiDAR points to guide depth, the two maps
concatenated and mixed by a 3x3 convolution with weighted channels. Decoder, head, losses, augmentation and image size
are the demo's in both; needs spconv (extra [spconv]).

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/peers/bevfusion.py [--data data/synthetic] [--epochs 7]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import ROOT, add_arguments, lidar_config, print_table, train_and_score

# isort: split
from perception.engine.run import load_config


def ours(config: Any) -> None:
    """The demo as it is."""


def plain(config: Any) -> None:
    network = config.model.network
    camera = network.camera
    camera.backbone.dilations = (1,)
    camera.lift.scale_aware = False
    camera.lift.valid_ranges_px = ((0.0, 1e8),)
    camera.lift.ground_z_m = None
    camera.semantic = network.second_stage = None
    other = load_config(ROOT / "configs" / "demo_lidar_spconv.py").model.network
    network.lidar = other.lidar
    network.fuser.update(in_channels=dict(other.fuser.in_channels, camera=camera.lift.channels), kernel=3)


MODELS = {"ours": ours, "plain": plain}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/peers_fused", epochs=7)
    parser.add_argument("--only", nargs="+", choices=tuple(MODELS), default=list(MODELS), help="which to run")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        try:
            config = lidar_config(args.data, args.epochs, args.lr, "demo_fusion.py", float32=False)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        MODELS[name](config)
        rows.append(train_and_score(name, config, args.work_dir, args.resume))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
