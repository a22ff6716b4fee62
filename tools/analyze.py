#!/usr/bin/env python3
"""Say where a detector is good and where not: by class, distance, size, visibility, weather and number of points."""

import argparse
import sys
from pathlib import Path

from perception.command_line import Parser, run

EXAMPLES = """examples:
  # one run in detail: report.html and analysis.json in work_dirs/demo/analysis
  tools/analyze.py work_dirs/demo/test/fused/results.json --infos data/synthetic/nuscenes_infos_val.json \\
      --out work_dirs/demo/analysis

  # the first run in detail, and the difference of the second one to it, with intervals
  tools/analyze.py work_dirs/a/fused/results.json work_dirs/b/fused/results.json \\
      --root data/nuscenes --version v1.0-trainval --out work_dirs/b/analysis

  # what each sensor adds; first: tools/test.py CONFIG CHECKPOINT --sensors fused lidar_only camera_only
  tools/analyze.py contribution work_dirs/demo/test --infos data/synthetic/nuscenes_infos_val.json \\
      --out work_dirs/demo/contribution
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        help="submission files (results.json), or a folder with one; the first is analysed, the others are compared "
        "with it. Or 'contribution FOLDER': the folder that tools/test.py --sensors wrote",
    )
    parser.add_argument("--infos", type=Path, help="info file of the data set that the runs were made on")
    parser.add_argument("--root", type=Path, help="its dataroot, instead of an info file; needs --version")
    parser.add_argument("--version", help="folder of the tables under --root, e.g. v1.0-trainval")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.html and the same as JSON")
    parser.add_argument("--worst", type=int, default=6, help="frames with most errors to show (default: %(default)s)")
    parser.add_argument("--no-pictures", action="store_true", help="list the worst frames without drawing them")
    parser.add_argument("--resamples", type=int, default=500, help="draws of the bootstrap (default: %(default)s)")
    parser.add_output_options()
    args = parser.parse_args(argv)
    if (args.infos is None) == (args.root is None) or (args.root is None) != (args.version is None):
        parser.error("give --infos, or --root and --version")
    if args.worst < 0 or args.resamples < 100:
        parser.error("--worst must not be negative, --resamples at least 100")
    if args.results[0] == "contribution" and len(args.results) != 2:
        parser.error("contribution takes one folder")
    return args


def body(args: argparse.Namespace) -> dict:
    """Write the report and return what is in it."""
    import json

    from perception.evaluation.json_file import write_json

    if args.infos:
        args.root, args.version = dataroot_of(args.infos)
    analyse = analyse_contribution if args.results[0] == "contribution" else analyse_runs
    content, report = analyse(args)
    written = write_json(report.with_name("analysis.json"), content, indent=1)
    return {**json.loads(written.read_text()), "report": str(report)}


def dataroot_of(infos: Path) -> tuple[Path, str]:
    """Dataroot and version that an info file records."""
    from perception.datasets.info_files import stream_info_file

    metainfo, _, _ = stream_info_file(infos)
    if "version" not in metainfo or "dataroot" not in metainfo:
        raise ValueError(f"{infos} does not say where its dataroot is: give --root and --version instead")
    return infos.parent / metainfo["dataroot"], metainfo["version"]


def analyse_runs(args: argparse.Namespace):
    """The analysis of the runs and the path of its report."""
    from perception.evaluation.analysis import analyse
    from perception.evaluation.scored_boxes import read_scored_boxes
    from perception.visualization.analysis_report import write_analysis

    paths = [submission(Path(given)) for given in args.results]
    runs = [
        read_scored_boxes(path, args.root, args.version, name=name)
        for path, name in zip(paths, run_names(paths), strict=True)
    ]
    content = analyse(runs, args.worst, args.resamples)
    pictures = {} if args.no_pictures else draw_worst(args, runs[0], content["worst"])
    return content, write_analysis(args.out / "report.html", content, pictures)


def analyse_contribution(args: argparse.Namespace):
    """What each sensor adds and the path of its report."""
    from perception.evaluation.contribution import MODES, contribution
    from perception.evaluation.scored_boxes import read_scored_boxes
    from perception.visualization.analysis_report import write_contribution

    folder = Path(args.results[1])
    missing = [mode for mode in MODES if not (folder / mode / "results.json").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no results of {', '.join(missing)}; make them with tools/test.py --sensors {' '.join(MODES)}"
        )
    runs = {mode: read_scored_boxes(folder / mode / "results.json", args.root, args.version) for mode in MODES}
    content = contribution(runs, args.resamples)
    return content, write_contribution(args.out / "report.html", content)


def draw_worst(args: argparse.Namespace, boxes, worst):
    """Pictures of the worst frames by sample token, errors by colour."""
    from perception.evaluation.frame_errors import frame_errors
    from perception.evaluation.matching import match_all
    from perception.evaluation.nuscenes_eval import load_nuscenes
    from perception.visualization.error_picture import error_picture
    from perception.visualization.sample_picture import load_sample

    nusc = load_nuscenes(args.root, args.version)
    errors = frame_errors(boxes, match_all(boxes))
    return {row["token"]: error_picture(load_sample(nusc, row["token"]), boxes, errors) for row in worst}


def submission(path: Path) -> Path:
    """The submission file that a path means."""
    return path / "results.json" if path.is_dir() else path


def run_names(paths: list[Path]) -> list[str]:
    """Names of runs: the shortest tails of their folders that tell them apart."""
    parts = [path.resolve().parent.parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"run {i + 1}" for i in range(len(paths))]


def show(content: dict) -> str:
    """The few lines that a terminal shows."""
    lines = contribution_lines(content) if "outcomes" in content else run_lines(content)
    return "\n".join([*lines, content["report"]])


def contribution_lines(content: dict) -> list[str]:
    camera, lidar = content["classes"]["camera_adds"], content["classes"]["lidar_adds"]
    return [
        "AP gained over       LiDAR alone   cameras alone",
        *(f"{n:<22}{camera[n]['difference']:>+10.3f}{lidar[n]['difference']:>+16.3f}" for n in camera),
    ]


def run_lines(content: dict) -> list[str]:
    lines = [f"{content['run']}: NDS {content['official']['NDS']:.3f}, mAP {content['official']['mAP']:.3f}"]
    lines.append(f"{'':<22}{'objects':>8}{'AP':>8}{'right':>8}{'missed':>8}{'false':>8}")
    for name, row in content["classes"].items():
        lines.append(
            f"{name:<22}{row['objects']:>8}{row['AP']:>8.3f}{row['right']:>8}{row['missed']:>8}{row['false']:>8}"
        )
    for comparison in content["comparisons"]:
        entry = comparison["table"]["mAP"]
        interval = "" if entry["low"] is None else f" (95 %: {entry['low']:+.3f} to {entry['high']:+.3f})"
        lines.append(f"{comparison['run']}: mAP {entry['difference']:+.3f}{interval}")
    return lines


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
