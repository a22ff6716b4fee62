#!/usr/bin/env python
"""Write a checkpoint as an artifact that runs without Python: native code or an ONNX graph, and manifest.json."""

import argparse
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/export.py configs/demo_fusion.py work_dirs/demo/latest.pth --out work_dirs/artifact
  tools/export.py configs/demo_fusion.py work_dirs/demo/latest.pth --out work_dirs/artifact-bf16 --precision bf16
  tools/export.py configs/demo_fusion.py work_dirs/demo/latest.pth --out work_dirs/artifact-onnx --target onnx
  tools/export.py configs/demo_fusion.py work_dirs/demo/latest.pth --out work_dirs/artifact-int8 \\
      --target onnx --precision int8
Then, for the first two, `make runtime` and: build/runtime/perception-run work_dirs/artifact FOLDER
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("checkpoint", help="weights, as tools/train.py writes them")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; an artifact in it is replaced")
    parser.add_argument(
        "--target", choices=("aoti", "onnx"), default="aoti", help="AOTInductor package (default), or ONNX"
    )
    parser.add_argument("--device", choices=("cpu",), default="cpu")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16", "int8"),
        default="fp32",
        help="default: %(default)s; int8: ONNX with the camera backbone quantized, calibrated on the training set",
    )
    parser.add_argument(
        "--calibration-frames", type=int, metavar="N", help="frames that int8 is calibrated on (default: 64)"
    )
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="cameras in order (default: nuScenes' six)")
    parser.add_argument("--max-points", type=int, help="the most points of a frame, all sweeps (default: 400000)")
    parser.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from perception.engine.export import CALIBRATION_FRAMES, CAMERAS, MAX_POINTS, export

    cameras = args.cameras or CAMERAS
    points = MAX_POINTS if args.max_points is None else args.max_points
    frames = CALIBRATION_FRAMES if args.calibration_frames is None else args.calibration_frames
    if args.calibration_frames is not None and args.precision != "int8":
        raise ValueError("--calibration-frames is for --precision int8")
    out = export(args.config, args.checkpoint, args.out, args.precision, cameras, points, args.target, frames)
    return {"target": args.target, "out": str(out)}


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, lambda result: f"{result['target']} artifact -> {result['out']}")


if __name__ == "__main__":
    sys.exit(main())
