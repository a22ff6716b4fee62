#!/usr/bin/env python
"""Detect objects in a dataroot, a folder of clouds and images, or one frame; no annotations needed."""

import argparse
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/infer.py configs/demo_fusion.py work_dirs/demo/latest.pth data/synthetic --out work_dirs/infer
  tools/infer.py configs/demo_fusion.py work_dirs/demo/latest.pth my_folder        (docs/own_data.md)
  tools/infer.py configs/demo_fusion.py work_dirs/demo/latest.pth my_folder/lidar/000017.bin --no-pictures
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("checkpoint", help="weights, as tools/train.py writes them")
    parser.add_argument("path", help="dataroot, folder or one frame")
    parser.add_argument("--out", default="work_dirs/infer", help="folder for boxes (JSON) and pictures (PNG)")
    parser.add_argument("--score", type=float, default=0.2, help="boxes drawn and written from this score on")
    parser.add_argument("--no-pictures", action="store_true", help="write boxes only")
    parser.add_argument(
        "--on-bad-data", choices=("stop", "skip"), help="stop at a damaged file, or do without that sensor and name it"
    )
    parser.add_config_options()
    parser.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from perception.engine.inference import infer_path
    from perception.engine.options import apply_options
    from perception.engine.run import load_config

    config = apply_options(load_config(args.config, args.cfg_options), args)
    pictures = not args.no_pictures
    return infer_path(config, args.checkpoint, args.path, args.out, args.score, pictures, progress=not args.quiet)


def show(result: dict) -> str:
    bad = [f"without: {file['problem']}" for file in result["bad_files"]]
    return "\n".join([*bad, f"{result['frames']} frames -> {result['out']}"])


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
