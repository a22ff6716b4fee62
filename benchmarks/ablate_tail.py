"""The dense tail of the LiDAR branch, ablated: none, or the official three dense 3x3 convolutions.

The same seed, data and number of samples for each; float32. Times of the whole branch at full size are
bench_lidar_branch.py's.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/ablate_tail.py [--data data/synthetic] [--epochs 3]
"""

from __future__ import annotations

import argparse
import sys

from training import add_arguments, lidar_config, print_table, train_and_score

TAILS = {"none": (), "dense 1, 1, 2": (1, 1, 2)}  # dilations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/ablate_tail", epochs=3)
    parser.add_argument("--only", choices=tuple(TAILS), help="run one of them")
    args = parser.parse_args()
    rows = []
    for name in [args.only] if args.only else TAILS:
        try:
            config = lidar_config(args.data, args.epochs, args.lr)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        config.model.network.lidar.backbone.conv_dilations = TAILS[name]
        rows.append(train_and_score(name, config, args.work_dir, args.resume))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
