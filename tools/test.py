#!/usr/bin/env python
"""Score a checkpoint, or an ONNX artifact, with the official nuScenes metric and write its submission file."""

import argparse
import json
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth --sensors fused lidar_only camera_only
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth --robustness
  tools/test.py configs/demo_fusion.py work_dirs/artifact-int8 --out work_dirs/artifact-int8-test
  tools/test.py configs/trident_2d_demo.py work_dirs/trident_2d_demo/latest.pth
  tools/test.py configs/nuscenes_fusion.py work_dirs/fusion/latest.pth --on-bad-data skip --json
"""
SHOWN = (
    "NDS", "mAP", "mAP_present", "mATE", "mASE", "mAOE", "mAVE", "mAAE",
    "AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "ms_per_frame",
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("checkpoint", help="weights, as tools/train.py writes them, or an ONNX artifact's folder")
    parser.add_argument("--out", help="folder of results (default: <checkpoint's folder>/test)")
    parser.add_argument(
        "--sensors",
        nargs="+",
        default=["fused"],
        choices=("fused", "lidar_only", "camera_only"),
        help="sensors that stay on; each choice is scored",
    )
    parser.add_argument(
        "--robustness", action="store_true", help="score with sensors missing, spoilt, wrongly mounted and late instead"
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
    from perception.engine.robustness import measure_robustness
    from perception.engine.run import evaluate, load_config

    config = apply_options(load_config(args.config, args.cfg_options), args)
    out = args.out or Path(args.checkpoint).parent / "test"
    if args.robustness:
        return {"conditions": measure_robustness(config, args.checkpoint, out, args.launcher)}
    metrics = evaluate(config, args.checkpoint, out, args.sensors, args.launcher)
    return {
        name: {key: scores[key] for key in SHOWN if key in scores and not isinstance(scores[key], dict)}
        for name, scores in metrics.items()
    }


def show(result: dict) -> str:
    if "conditions" not in result:
        return json.dumps(result, indent=2)
    return "\n".join(
        f"{row['name']:36} NDS {row['NDS']:.3f}  mAP {row['mAP']:.3f}  {row['share'] or 0:6.1%}"
        for row in result["conditions"]
    )


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
