#!/usr/bin/env python
"""The whole road on the synthetic world: generate, train, score with and without each sensor, report."""

import argparse
import sys

EXAMPLES = """examples:
  tools/demo.py                                  (what `make demo` runs)
  tools/demo.py --work-dir work_dirs/demo2 --data data/synthetic
A second run re-uses the data set and the checkpoint that are there.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/demo_fusion.py", help="config file (Python)")
    parser.add_argument("--data", default="data/synthetic", help="dataroot to generate or re-use")
    parser.add_argument("--work-dir", default="work_dirs/demo", help="checkpoints, metrics.json, report.html, frames/")
    parser.add_argument("--train-scenes", type=int, default=60)
    parser.add_argument("--val-scenes", type=int, default=12)
    parser.add_argument("--keyframes", type=int, default=4, help="key frames per scene (2 per second)")
    args = parser.parse_args()

    from perception.engine.demo import run_demo

    try:
        metrics = run_demo(args.config, args.data, args.work_dir, args.train_scenes, args.val_scenes, args.keyframes)
    except (FileNotFoundError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name in ("fused", "lidar_only", "camera_only"):
        print(f"{name:12} NDS {metrics[name]['NDS']:.3f}  mAP {metrics[name]['mAP']:.3f}")
    print(f"report: {args.work_dir}/report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
