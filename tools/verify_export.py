#!/usr/bin/env python
"""Check an artifact against the Python model: over the same frames the runtime's boxes must be the same, or in lower
precision its score."""

import argparse
import sys

EXAMPLES = """examples:
  tools/verify_export.py work_dirs/artifact configs/demo_fusion.py work_dirs/demo/latest.pth \\
      data/synthetic/nuscenes_infos_val.json
  tools/verify_export.py work_dirs/artifact configs/demo_fusion.py work_dirs/demo/latest.pth a_dataroot --frames 20
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", metavar="DIR", help="artifact, as tools/export.py writes it")
    parser.add_argument("config", help="config file (Python)")
    parser.add_argument("checkpoint", help="weights that the artifact was made from")
    parser.add_argument("data", help="info file, dataroot or folder of frames (bf16: info file)")
    parser.add_argument("--program", help="perception-run (default: build/runtime/perception-run)")
    parser.add_argument("--frames", type=int, metavar="N", help="take N frames, evenly spread (default: all)")
    args = parser.parse_args()

    from perception.engine.verify_export import NDS_TOLERANCE, PROGRAM, Comparison, score_difference, verify
    from perception.export.manifest import read_manifest

    def say(result: Comparison) -> None:
        worst = "  ".join(f"{name} {value:.1e}" for name, value in result.worst.items())
        unequal = f", counts differ in {len(result.unequal_frames)} frames" * bool(result.unequal_frames)
        verdict = "ok  " if result.agrees else "FAIL"
        print(
            f"{verdict} {result.case}: {result.frames} frames, {result.boxes[0]} and {result.boxes[1]} boxes{unequal}; "
            f"largest differences: {worst}",
            flush=True,
        )

    program = args.program or PROGRAM
    try:
        if read_manifest(args.artifact)["artifact"]["precision"] != "fp32":
            python, runtime = score_difference(args.artifact, args.config, args.checkpoint, args.data, program)
            agrees = abs(python - runtime) <= NDS_TOLERANCE
            print(f"{'ok  ' if agrees else 'FAIL'} NDS {python:.4f} in Python, {runtime:.4f} in the runtime")
            return 0 if agrees else 1
        results = verify(args.artifact, args.config, args.checkpoint, args.data, program, args.frames, say)
    except (FileNotFoundError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if all(result.agrees for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
