"""`python -m perception.datasets.synthetic OUT`: generate a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.datasets.synthetic.generate import generate_dataroot


def main() -> None:
    """Parse the arguments and generate."""
    parser = argparse.ArgumentParser(description="Generate a nuScenes-format data set of the synthetic world.")
    parser.add_argument("out", type=Path, help="folder of the new dataroot")
    parser.add_argument("--train-scenes", type=int, default=10)
    parser.add_argument("--val-scenes", type=int, default=4)
    parser.add_argument("--keyframes", type=int, default=20, help="key frames per scene, two per second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--image-size", type=int, nargs=2, default=(1600, 900), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    generate_dataroot(
        args.out, args.train_scenes, args.val_scenes, args.keyframes, args.seed, args.workers, tuple(args.image_size)
    )


if __name__ == "__main__":
    main()
