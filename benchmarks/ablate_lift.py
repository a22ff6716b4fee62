"""The scale-aware lift, ablated on cameras alone: one branch, the plain sum of three, three chosen among by depth.

configs/demo_camera.py with the same seed, data and number of samples for each, in bfloat16 as the demo. LiDAR points
and boxes teach depth in training; there is no LiDAR at test.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/ablate_lift.py [--data data/synthetic] [--epochs 3]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from training import add_arguments, lidar_config, print_table, train_and_score


def single_branch(config: Any) -> None:
    """TridentNet Fast: the middle branch, which is for every size."""
    camera = config.model.network.camera
    camera.backbone.dilations = (2,)
    camera.lift.valid_ranges_px = camera.image_head.valid_ranges_px = ((0.0, 1e8),)


def plain_sum(config: Any) -> None:
    config.model.network.camera.lift.scale_aware = False


def scale_aware(config: Any) -> None:
    """The config as it is."""


LIFTS = {"single branch": single_branch, "plain sum": plain_sum, "scale-aware": scale_aware}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/ablate_lift", epochs=3)
    parser.add_argument("--only", choices=tuple(LIFTS), help="run one of them")
    args = parser.parse_args()
    rows = []
    for name in [args.only] if args.only else LIFTS:
        try:
            config = lidar_config(args.data, args.epochs, args.lr, "demo_camera.py", float32=False)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        LIFTS[name](config)
        rows.append(train_and_score(name, config, args.work_dir))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
