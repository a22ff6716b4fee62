#!/usr/bin/env python
"""The whole road on the synthetic world: generate, train the LiDAR and then both sensors, score, report."""

import argparse
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/demo.py                                  (what `make demo` runs)
  tools/demo.py --work-dir work_dirs/demo2 --data data/synthetic
A second run re-uses the data set and the checkpoint that are there.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("--config", default="configs/demo_fusion.py", help="config of the fused detector (Python)")
    parser.add_argument(
        "--lidar-config", default="configs/demo_lidar.py", help="config of the LiDAR detector that it begins from"
    )
    parser.add_argument("--data", default="data/synthetic", help="dataroot to generate or re-use")
    parser.add_argument("--work-dir", default="work_dirs/demo", help="checkpoints, metrics.json, report.html, frames/")
    parser.add_argument("--train-scenes", type=int, default=60, help="scenes to train on (default: %(default)s)")
    parser.add_argument("--val-scenes", type=int, default=12, help="held-out scenes (default: %(default)s)")
    parser.add_argument(
        "--keyframes", type=int, default=4, help="key frames per scene, two a second (default: %(default)s)"
    )
    parser.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from perception.engine.demo import run_demo

    scores = run_demo(
        args.config,
        args.lidar_config,
        args.data,
        args.work_dir,
        args.train_scenes,
        args.val_scenes,
        args.keyframes,
    )
    return {**scores, "report": f"{args.work_dir}/report.html"}


def show(result: dict) -> str:
    names = ("fused", "lidar_only", "camera_only", "lidar_alone")
    rows = [f"{name:12} NDS {result[name]['NDS']:.3f}  mAP {result[name]['mAP']:.3f}" for name in names]
    return "\n".join([*rows, f"report: {result['report']}"])


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
