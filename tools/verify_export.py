#!/usr/bin/env python
"""Check an artifact against the Python model: over the same frames the runtime's boxes must be the same, or in lower
precision its score. The runtime is perception-run, or for --target onnx ONNX Runtime."""

import argparse
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/verify_export.py work_dirs/artifact configs/demo_fusion.py work_dirs/demo/latest.pth \\
      data/synthetic/nuscenes_infos_val.json
  tools/verify_export.py work_dirs/artifact configs/demo_fusion.py work_dirs/demo/latest.pth a_dataroot --frames 20
  tools/verify_export.py work_dirs/artifact-onnx configs/demo_fusion.py work_dirs/demo/latest.pth a_dataroot
  make replay      # --replay on a small network, with the reference in tests/runtime
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("artifact", metavar="DIR", help="artifact, as tools/export.py writes it")
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("checkpoint", help="weights that the artifact was made from")
    parser.add_argument("data", help="info file, dataroot or folder of frames (in lower precision: info file)")
    parser.add_argument("--program", help="perception-run (default: build/runtime/perception-run)")
    parser.add_argument("--frames", type=int, metavar="N", help="take N frames, evenly spread (default: all)")
    parser.add_argument("--replay", metavar="FILE", help="instead: have boxes or speed drifted from this reference?")
    parser.add_argument("--record", metavar="FILE", help="instead: write the reference of --replay")
    parser.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from perception.engine.export_drift import record, replay
    from perception.engine.verify_export import NDS_TOLERANCES, PROGRAM, Comparison, score_difference, verify
    from perception.export.manifest import read_manifest

    lines: list[str] = []

    def say(result: Comparison) -> None:
        worst = "  ".join(f"{name} {value:.1e}" for name, value in result.worst.items())
        unequal = f", counts differ in {len(result.unequal_frames)} frames" * bool(result.unequal_frames)
        verdict = "ok  " if result.agrees else "FAIL"
        lines.append(
            f"{verdict} {result.case}: {result.frames} frames, {result.boxes[0]} and {result.boxes[1]} boxes{unequal}; "
            f"largest differences: {worst}"
        )
        print(lines[-1], file=sys.stderr, flush=True)

    program = args.program or PROGRAM
    given = (args.artifact, args.config, args.checkpoint, args.data)
    if args.replay:
        lines += replay(*given, args.replay, program)
    elif args.record:
        boxes = record(*given, args.record, program)["boxes"]
        lines.append(f"{sum(map(len, boxes.values()))} boxes of {len(boxes)} frames -> {args.record}")
    elif (precision := read_manifest(args.artifact)["artifact"]["precision"]) != "fp32":
        python, runtime = score_difference(*given, program)
        agrees = abs(python - runtime) <= NDS_TOLERANCES[precision]
        lines.append(f"{'ok  ' if agrees else 'FAIL'} NDS {python:.4f} in Python, {runtime:.4f} in the runtime")
    else:
        verify(*given, program, args.frames, say)
    return {"cases": lines, "problems": [line for line in lines if line.startswith("FAIL")]}


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, lambda result: "\n".join(result["cases"]))


if __name__ == "__main__":
    sys.exit(main())
