#!/usr/bin/env python
"""Score a checkpoint with the official nuScenes metric and write its submission file."""

import argparse
import json
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth --sensors fused lidar_only camera_only
  tools/test.py configs/nuscenes_fusion.py work_dirs/fusion/latest.pth --on-bad-data skip --json
"""
SHOWN = ("NDS", "mAP", "mAP_present", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "ms_per_frame")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("checkpoint", help="weights, as tools/train.py writes them")
    parser.add_argument("--out", help="folder of results (default: <checkpoint's folder>/test)")
    parser.add_argument(
        "--sensors",
        nargs="+",
        default=["fused"],
        choices=("fused", "lidar_only", "camera_only"),
        help="sensors that stay on; each choice is scored",
    )
    parser.add_argument(
        "--on-bad-data", choices=("stop", "skip"), help="stop at a damaged file, or go on without it and name it"
    )
    parser.add_config_options()
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from pathlib import Path

    from perception.engine.options import apply_options
    from perception.engine.run import evaluate, load_config

    config = apply_options(load_config(args.config, args.cfg_options), args)
    out = args.out or Path(args.checkpoint).parent / "test"
    metrics = evaluate(config, args.checkpoint, out, args.sensors, args.launcher)
    return {name: {key: scores.get(key) for key in SHOWN} for name, scores in metrics.items()}


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, lambda result: json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
