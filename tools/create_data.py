#!/usr/bin/env python3
"""Make a data set ready for training: info files of nuScenes or your own frames, objects to paste, a synthetic set."""

import argparse
import os
import sys
import time
from pathlib import Path

from perception.command_line import Parser, run

EXAMPLES = """examples:
  # info files of nuScenes (the whole set, or v1.0-mini); needs the unpacked archives under --root
  tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval --out data/nuscenes

  # the same where some files are damaged: it goes on without them and names them in bad_files.json
  tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval --out data/nuscenes --on-bad-data skip

  # a synthetic data set in nuScenes' own format, with its info files; no download
  tools/create_data.py synthetic --out data/synthetic --train-scenes 30 --val-scenes 8

  # the annotated objects with their points, for configs that paste them into training samples
  tools/create_data.py gt-database --ann-file data/nuscenes/nuscenes_infos_train.json --out data/nuscenes/gt_database

  # 2D boxes in COCO format: the 3D ones of an info file as its cameras see them, or nuImages' own
  tools/create_data.py coco2d --ann-file data/nuscenes/nuscenes_infos_train.json --out data/nuscenes/coco2d_train.json
  tools/create_data.py nuimages --root data/nuimages --version v1.0-train --out data/nuimages/coco2d_train.json

  # true masks of the synthetic pictures, and point labels from LiDAR and 3D boxes (docs/panoptic.md)
  tools/create_data.py panoptic --root data/synthetic
  tools/create_data.py point-labels --panoptic data/synthetic/panoptic_train.json \
      --ann-file data/synthetic/nuscenes_infos_train.json --out data/synthetic/points_train.json

  # your own clouds, images, calibration and boxes (docs/own_data.md), and KITTI as an example of them
  tools/create_data.py folder --root my_folder
  tools/create_data.py kitti --root data/kitti --out data/kitti_frames
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="{nuscenes,synthetic,gt-database,coco2d,nuimages,panoptic,point-labels,folder,kitti}",
    )

    nuscenes = commands.add_parser("nuscenes", help="info files of a nuScenes dataroot")
    nuscenes.add_argument(
        "--root", type=Path, required=True, help="dataroot: holds samples, sweeps, maps and the version"
    )
    nuscenes.add_argument(
        "--version", required=True, help="v1.0-trainval, v1.0-mini, v1.0-test, or the name of your own"
    )
    nuscenes.add_argument("--out", type=Path, required=True, help="folder for nuscenes_infos_<split>.json")
    nuscenes.add_argument(
        "--on-bad-data", choices=("stop", "skip"), default="stop",
        help="stop at damaged sensor files, or go on without them and name them (default: %(default)s)",
    )  # fmt: skip

    synthetic = commands.add_parser("synthetic", help="a synthetic dataroot and its info files")
    synthetic.add_argument("--out", type=Path, required=True, help="dataroot to make")
    synthetic.add_argument("--train-scenes", type=int, default=30, help="scenes to train on (default: %(default)s)")
    synthetic.add_argument("--val-scenes", type=int, default=8, help="held-out scenes (default: %(default)s)")
    synthetic.add_argument("--keyframes", type=int, default=10, help="key frames per scene (default: %(default)s)")
    synthetic.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)"
    )
    synthetic.add_argument(
        "--image-size", type=int, nargs=2, default=(1600, 900), metavar=("WIDTH", "HEIGHT"),
        help="of the pictures, px; `make demo` takes 704 396 (default: 1600 900, nuScenes')",
    )  # fmt: skip

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
    nuimages.add_argument("--panoptic", action="store_true", help="masks, as a COCO-panoptic file and a folder of PNGs")

    panoptic = commands.add_parser("panoptic", help="true masks of a synthetic dataroot, in COCO's panoptic format")
    panoptic.add_argument("--root", type=Path, required=True, help="dataroot that `synthetic` made")
    panoptic.add_argument("--every", type=int, default=1, help="take every n-th picture (default: %(default)s)")
    panoptic.add_argument("--scenes", type=int, help="take so many scenes of each split at most (default: all)")
    labels = commands.add_parser("point-labels", help="point labels from LiDAR points and 3D boxes")
    labels.add_argument("--ann-file", type=Path, required=True, help="info file")
    labels.add_argument("--panoptic", type=Path, help="take the images of this COCO-panoptic file only, by its numbers")
    labels.add_argument("--root", type=Path, help="dataroot (default: the one that the info file records)")
    labels.add_argument("--out", type=Path, required=True, help="point label file to write")
    labels.add_argument("--points", type=int, default=10, help="at most so many per target (default: %(default)s)")

    folder = commands.add_parser("folder", help="info files of your own frames (docs/own_data.md)")
    folder.add_argument("--root", type=Path, required=True, help="folder of clouds, images, calibration and boxes")
    folder.add_argument("--out", type=Path, help="folder for infos_train.json and infos_val.json (default: the root)")
    kitti = commands.add_parser("kitti", help="KITTI's 3D object data set as such a folder, and its info files")
    kitti.add_argument("--root", type=Path, required=True, help="holds training/{velodyne,image_2,calib,label_2}")
    kitti.add_argument("--out", type=Path, required=True, help="folder to write")
    for command in (folder, kitti):
        command.add_argument(
            "--val-fraction", type=float, default=0.2, help="held out, where there is no split (default: %(default)s)"
        )

    # LoadSweeps of the full-size configs takes nine; info files list one more.
    for command, sweeps in ((nuscenes, 10), (synthetic, 10), (database, 9)):
        command.add_argument(
            "--sweeps", type=int, default=sweeps, help="previous sweeps per key frame (default: %(default)s)"
        )
    for command in (nuscenes, synthetic, database, panoptic, kitti):
        cores = len(os.sched_getaffinity(0))
        command.add_argument("--workers", type=int, default=cores, help="processes (default: all cores, %(default)s)")
    for command in (nuscenes, synthetic, database, coco2d, nuimages, panoptic, labels, folder, kitti):
        command.add_output_options()
    return parser.parse_args(argv)


# Below, imports are in the functions: --help should not wait for numpy, torch and the devkit.


def body(args: argparse.Namespace) -> dict:
    started_s = time.monotonic()
    makers = {
        "gt-database": make_database,
        "coco2d": make_coco2d,
        "nuimages": make_nuimages,
        "panoptic": make_panoptic,
        "point-labels": make_point_labels,
        "folder": make_folder,
        "kitti": make_kitti,
    }
    result = makers.get(args.command, make_infos)(args)
    return {**result, "seconds": round(time.monotonic() - started_s, 1)}


def show(result: dict) -> str:
    lines = [str(path) for path in result["written"]]
    for key in ("samples", "objects"):
        if key in result:
            counts = ", ".join(f"{name} {count}" for name, count in result[key].items())
            lines.append(f"{sum(result[key].values())} {key}: {counts}")
    if bad := result.get("bad_files"):
        lines.append(f"{bad['count']} bad files were left out; {bad['list']} names them")
    return "\n".join([*lines, f"done in {result['seconds']} s"])


def make_infos(args: argparse.Namespace) -> dict:
    """Info files of a dataroot, which is generated first where it is the synthetic one."""
    import json

    from perception.datasets.nuscenes_infos import BAD_FILES, create_info_files

    if args.command == "synthetic":
        args.root, args.version, args.on_bad_data = args.out, make_synthetic(args), "stop"
    written = create_info_files(
        args.root, args.version, args.out, args.sweeps, args.workers, not args.quiet, args.on_bad_data
    )
    result: dict = {"written": [str(path) for path in written.values()]}
    if args.on_bad_data == "skip" and (path := args.out / BAD_FILES).is_file():
        result["bad_files"] = {"count": json.loads(path.read_text())["count"], "list": str(path)}
    return result


def make_database(args: argparse.Namespace) -> dict:
    """Cut the objects of an info file out of their frames."""
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
    return {"written": [str(args.out)], "objects": dict(sorted(counts.items()))}


def make_coco2d(args: argparse.Namespace) -> dict:
    """The COCO file of an info file's boxes."""
    from perception.datasets.coco_from_infos import Drawable, create_coco_file

    drawable = Drawable(args.min_visible, args.min_visibility)
    writer = create_coco_file(args.ann_file, args.out, args.root, drawable, progress=not args.quiet)
    return {"written": [str(args.out), writer.summary()]}


def make_nuimages(args: argparse.Namespace) -> dict:
    """The COCO file of a nuImages dataroot."""
    if args.panoptic:
        from perception.panoptic.from_nuimages import write_panoptic_file

        counts = write_panoptic_file(args.root, args.version, args.out, progress=not args.quiet)
        return {"written": [str(args.out)], "objects": counts}
    from perception.datasets.coco_from_nuimages import create_coco_file

    writer = create_coco_file(args.root, args.version, args.out, progress=not args.quiet)
    return {"written": [str(args.out), writer.summary()]}


def make_panoptic(args: argparse.Namespace) -> dict:
    """The true masks of a synthetic dataroot."""
    from perception.datasets.synthetic.panoptic import write_panoptic

    made = write_panoptic(args.root, args.every, args.workers, not args.quiet, args.scenes)
    return {"written": made["written"], "samples": made["images"]}


def make_point_labels(args: argparse.Namespace) -> dict:
    """Point labels of an info file's pictures."""
    from perception.panoptic.point_labels import write_point_labels

    counts = write_point_labels(args.ann_file, args.out, args.root, args.panoptic, args.points, not args.quiet)
    return {"written": [str(args.out)], "objects": counts}


def make_folder(args: argparse.Namespace) -> dict:
    """Info files of a folder of frames."""
    from perception.datasets.own_frames import create_folder_infos

    made = create_folder_infos(args.root, args.out, args.val_fraction)
    return {"written": [made["train"], made["val"]], "samples": made["samples"], "objects": made["classes"]}


def make_kitti(args: argparse.Namespace) -> dict:
    """KITTI as a folder of frames, and its info files."""
    from perception.datasets.kitti import convert_kitti

    convert_kitti(args.root, args.out, args.workers, progress=not args.quiet)
    args.root, args.out = args.out, None
    return make_folder(args)


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
        image_size=tuple(args.image_size),
        progress=not args.quiet,
    )
    return VERSION


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
