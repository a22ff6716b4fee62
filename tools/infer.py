#!/usr/bin/env python
"""Detect objects in a dataroot, a folder of clouds and images, or one frame; no annotations needed."""

import argparse
import sys

EXAMPLES = """examples:
  tools/infer.py configs/demo_fusion.py work_dirs/demo/latest.pth data/synthetic --out work_dirs/infer
  tools/infer.py configs/demo_fusion.py work_dirs/demo/latest.pth my_folder        (see perception/datasets/frames.py)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file (Python)")
    parser.add_argument("checkpoint", help="weights, as tools/train.py writes them")
    parser.add_argument("path", help="dataroot, folder or one frame")
    parser.add_argument("--out", default="work_dirs/infer", help="folder for boxes (JSON) and pictures (PNG)")
    parser.add_argument("--score", type=float, default=0.2, help="boxes drawn and written from this score on")
    parser.add_argument("--no-pictures", action="store_true", help="write boxes only")
    args = parser.parse_args()

    from perception.engine.inference import infer_path

    try:
        count = infer_path(args.config, args.checkpoint, args.path, args.out, args.score, not args.no_pictures)
    except (FileNotFoundError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} frames -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
