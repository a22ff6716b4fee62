#!/usr/bin/env python3
"""Make a data set ready for training: info files of a nuScenes dataroot, a database of its objects, a synthetic set."""

import argparse
import sys
import time
from pathlib import Path

EXAMPLES = """examples:
  # info files of nuScenes (the whole set, or v1.0-mini); needs the unpacked archives under --root
  tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval --out data/nuscenes --workers 8

  # a synthetic data set in nuScenes' own format, with its info files; no download
  tools/create_data.py synthetic --out data/synthetic --train-scenes 30 --val-scenes 8

  # the annotated objects with their points, for configs that paste them into training samples
  tools/create_data.py gt-database --ann-file data/nuscenes/nuscenes_infos_train.json --out data/nuscenes/gt_database

  # 2D boxes in COCO format: the 3D ones of an info file as its cameras see them, or nuImages' own
  tools/create_data.py coco2d --ann-file data/nuscenes/nuscenes_infos_train.json --out data/nuscenes/coco2d_train.json
  tools/create_data.py nuimages --root data/nuimages --version v1.0-train --out data/nuimages/coco2d_train.json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="{nuscenes,synthetic,gt-database,coco2d,nuimages}"
    )

    nuscenes = commands.add_parser("nuscenes", help="info files of a nuScenes dataroot")
    nuscenes.add_argument(
        "--root", type=Path, required=True, help="dataroot: holds samples, sweeps, maps and the version"
    )
    nuscenes.add_argument(
        "--version", required=True, help="v1.0-trainval, v1.0-mini, v1.0-test, or the name of your own"
    )
    nuscenes.add_argument("--out", type=Path, required=True, help="folder for nuscenes_infos_<split>.json")

    synthetic = commands.add_parser("synthetic", help="a synthetic dataroot and its info files")
    synthetic.add_argument("--out", type=Path, required=True, help="dataroot to make")
    synthetic.add_argument("--train-scenes", type=int, default=30, help="scenes to train on (default: %(default)s)")
    synthetic.add_argument("--val-scenes", type=int, default=8, help="held-out scenes (default: %(default)s)")
    synthetic.add_argument("--keyframes", type=int, default=10, help="key frames per scene (default: %(default)s)")
    synthetic.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)"
    )

    database = commands.add_parser("gt-database", help="annotated objects with their points, to paste while training")
    database.add_argument("--ann-file", type=Path, required=True, help="info file of the samples to train on")
    database.add_argument("--out", type=Path, required=True, help="folder for points.bin and index.jsonl")
    database.add_argument("--root", type=Path, help="dataroot (default: the one that the info file records)")
    database.add_argument(
        "--every", type=int, default=1, help="take every n-th previous sweep, as the config (default: %(default)s)"
    )
    database.add_argument(
        "--min-points", type=int, default=5, help="leave out objects with fewer points (default: %(default)s)"
    )

    coco2d = commands.add_parser("coco2d", help="2D boxes, projected from an info file's 3D ones, as a COCO file")
    coco2d.add_argument("--ann-file", type=Path, required=True, help="info file")
    coco2d.add_argument("--out", type=Path, required=True, help="COCO file to write")
    coco2d.add_argument("--root", type=Path, help="dataroot (default: the one that the info file records)")
    coco2d.add_argument(
        "--min-visible", type=float, default=0.3, help="share that nearer boxes leave in sight (default: %(default)s)"
    )
    coco2d.add_argument(
        "--min-visibility", type=int, default=2, help="least visibility token, 1 to 4 (default: %(default)s)"
    )

    nuimages = commands.add_parser("nuimages", help="nuImages' 2D boxes and masks as a COCO file")
    nuimages.add_argument("--root", type=Path, required=True, help="dataroot: holds samples and the version")
    nuimages.add_argument("--version", required=True, help="v1.0-train, v1.0-val or v1.0-mini")
    nuimages.add_argument("--out", type=Path, required=True, help="COCO file to write")

    for command in (coco2d, nuimages):
        command.add_argument("--quiet", action="store_true", help="no progress bars, only the result")

    # LoadSweeps of the full-size configs takes nine; info files list one more.
    for command, sweeps in ((nuscenes, 10), (synthetic, 10), (database, 9)):
        command.add_argument(
            "--sweeps", type=int, default=sweeps, help="previous sweeps per key frame (default: %(default)s)"
        )
        command.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
        command.add_argument("--quiet", action="store_true", help="no progress bars, only the result")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, or 1 for bad input (named on stderr)."""
    args = parse_args(argv)
    started_s = time.monotonic()
    try:
        make = {"gt-database": make_database, "coco2d": make_coco2d, "nuimages": make_nuimages}
        written = make.get(args.command, make_infos)(args)
    except (OSError, ValueError) as error:
        print(f"create_data: error: {error}", file=sys.stderr)
        return 1
    for line in written:
        print(line)
    print(f"done in {time.monotonic() - started_s:.1f} s")
    return 0


# Below, imports are in the functions: --help should not wait for numpy, torch and the devkit.


def make_infos(args: argparse.Namespace) -> list[str]:
    """Info files of a dataroot, which is generated first where it is the synthetic one; returns their paths."""
    from perception.datasets.nuscenes_infos import create_info_files

    if args.command == "synthetic":
        args.root, args.version = args.out, make_synthetic(args)
    written = create_info_files(args.root, args.version, args.out, args.sweeps, args.workers, progress=not args.quiet)
    return [str(path) for path in written.values()]


def make_database(args: argparse.Namespace) -> list[str]:
    """Cut the objects of an info file out of their frames; returns the database's path and its size."""
    from perception.datasets.gt_cutting import create_gt_database

    counts = create_gt_database(
        args.ann_file,
        args.out,
        args.root,
        sweeps=args.sweeps,
        every=args.every,
        min_points=args.min_points,
        workers=args.workers,
        progress=not args.quiet,
    )
    objects = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [str(args.out), f"{sum(counts.values())} objects: {objects}"]


def make_coco2d(args: argparse.Namespace) -> list[str]:
    """The COCO file of an info file's boxes; returns its path and what is in it."""
    from perception.datasets.coco_from_infos import Drawable, create_coco_file

    drawable = Drawable(args.min_visible, args.min_visibility)
    writer = create_coco_file(args.ann_file, args.out, args.root, drawable, progress=not args.quiet)
    return [str(args.out), writer.summary()]


def make_nuimages(args: argparse.Namespace) -> list[str]:
    """The COCO file of a nuImages dataroot; returns its path and what is in it."""
    from perception.datasets.coco_from_nuimages import create_coco_file

    writer = create_coco_file(args.root, args.version, args.out, progress=not args.quiet)
    return [str(args.out), writer.summary()]


def make_synthetic(args: argparse.Namespace) -> str:
    """Generate the synthetic dataroot; returns its version."""
    from perception.datasets.synthetic import VERSION, generate_dataroot

    generate_dataroot(
        args.out,
        train_scenes=args.train_scenes,
        val_scenes=args.val_scenes,
        keyframes_per_scene=args.keyframes,
        seed=args.seed,
        workers=args.workers,
        progress=not args.quiet,
    )
    return VERSION


if __name__ == "__main__":
    sys.exit(main())
