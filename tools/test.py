#!/usr/bin/env python
"""Score a checkpoint with the official nuScenes metric and write its submission file; 2D detectors with COCO's AP."""

import argparse
import json
import sys

EXAMPLES = """examples:
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth --sensors fused lidar_only camera_only
  tools/test.py configs/demo_fusion.py work_dirs/demo_fusion/latest.pth --robustness
  tools/test.py configs/trident_2d_demo.py work_dirs/trident_2d_demo/latest.pth
"""
SHOWN = (
    "NDS", "mAP", "mAP_present", "mATE", "mASE", "mAOE", "mAVE", "mAAE",
    "AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "ms_per_frame",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file (Python)")
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
        "--robustness", action="store_true", help="score with sensors missing, spoilt, wrongly mounted and late instead"
    )
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the config")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    args = parser.parse_args()

    from pathlib import Path

    from perception.engine.options import parse_options
    from perception.engine.robustness import measure_robustness
    from perception.engine.run import evaluate, load_config

    try:
        config = load_config(args.config, parse_options(args.cfg_options))
        out = args.out or Path(args.checkpoint).parent / "test"
        if args.robustness:
            for row in measure_robustness(config, args.checkpoint, out, args.launcher):
                print(f"{row['name']:36} NDS {row['NDS']:.3f}  mAP {row['mAP']:.3f}  {row['share'] or 0:6.1%}")
            return 0
        metrics = evaluate(config, args.checkpoint, out, args.sensors, args.launcher)
    except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, scores in metrics.items():
        metrics[name] = {key: scores[key] for key in SHOWN if key in scores and not isinstance(scores[key], dict)}
    print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
