#!/usr/bin/env python3
"""Say whether the sensors of a recording agree and their files are whole: times, files, calibration, statistics."""

import argparse
import sys
from pathlib import Path

from perception.command_line import Parser, run

EXAMPLES = """examples:
  # statistics of the training set, once
  tools/check_sensors.py data/nuscenes --version v1.0-trainval --write-reference work_dirs/reference.json

  # a new recording against them; the status is 4 where a sensor is at fault
  tools/check_sensors.py data/new --reference work_dirs/reference.json

  # some scenes only, or a folder of clouds and images (perception/datasets/frames.py), as JSON
  tools/check_sensors.py data/nuscenes --version v1.0-mini --scenes scene-0061 scene-0103
  tools/check_sensors.py my_folder --json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("path", type=Path, help="nuScenes dataroot, or folder of frames")
    parser.add_argument("--version", help="folder of the tables, of a dataroot that has several")
    parser.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="only these scenes of a dataroot")
    parser.add_argument(
        "--frames",
        type=int,
        default=40,
        help="key frames, evenly spread, whose content is compared (default: %(default)s); files and times: in all",
    )
    parser.add_argument("--reference", type=Path, help="statistics to compare with, as --write-reference wrote them")
    parser.add_argument(
        "--write-reference", type=Path, metavar="FILE", help="write this recording's statistics and stop"
    )
    parser.add_output_options()
    args = parser.parse_args(argv)
    if args.frames < 1:
        parser.error("--frames must be positive")
    if args.reference and args.write_reference:
        parser.error("give --reference or --write-reference, not both")
    return args


def body(args: argparse.Namespace) -> dict:
    """Everything that was measured; "problems" are the sensors at fault, with their reasons."""
    from perception.evaluation.sensors.recording import read_recording
    from perception.evaluation.sensors.statistics import read_reference, write_reference
    from perception.evaluation.sensors.verdict import FAULT, check_recording

    usual = read_reference(args.reference) if args.reference else None
    recording = read_recording(args.path, args.version, args.scenes)
    if args.write_reference:
        written = write_reference(args.write_reference, recording.spread(args.frames), not args.quiet)
        return {"reference": str(written)}
    report = check_recording(recording, usual, args.frames, progress=not args.quiet)
    faulty = {name: sensor["reasons"] for name, sensor in report["sensors"].items() if sensor["verdict"] == FAULT}
    return {**report, "problems": [f"{name}: {reason}" for name, reasons in faulty.items() for reason in reasons]}


def show(result: dict) -> str:
    return result.get("reference") or as_table(result)


def as_table(report: dict) -> str:
    """A line per sensor: files, time to the LiDAR, calibration, verdict; then the reasons and what was not judged."""
    lines = [f"{'sensor':<17}{'files':>7}{'offset ms':>11}{'turn deg':>10}{'move cm':>9}  verdict"]
    for name, sensor in report["sensors"].items():
        offset = sensor["clock"]["offset_s"]
        place = sensor["alignment"]
        turn = "-" if place is None else f"{sum(v * v for v in place['turn_deg']) ** 0.5:.2f}"
        move = "-" if place is None else f"{100 * sum(v * v for v in place['move_m']) ** 0.5:.1f}"
        lines.append(
            f"{name:<17}{sensor['files']['files']:>7}{'-' if offset is None else f'{1e3 * offset:.0f}':>11}"
            f"{turn:>10}{move:>9}  {sensor['verdict']}"
        )
        lines += [f"{'':<17}  {reason}" for reason in sensor["reasons"]]
    unsaid: dict[str, list[str]] = {}
    for name, sensor in report["sensors"].items():
        for question in sensor["not_judged"]:
            unsaid.setdefault(question, []).append(name)
    everyone = len(report["sensors"])
    for question, names in unsaid.items():
        lines.append(f"not judged: {question}{'' if len(names) == everyone else ': ' + ', '.join(names)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
