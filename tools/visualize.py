#!/usr/bin/env python3
"""Draw frames of a data set: sensors, ground truth, detections, errors by colour, the inside of the network."""

import argparse
import sys
import tempfile
from pathlib import Path

from perception.command_line import Parser, run

EXAMPLES = """examples:
  # ground truth of a dataroot, as PNG files
  tools/visualize.py --root data/nuscenes --version v1.0-mini --limit 5 --out work_dirs/frames

  # detections of the data set that a config tests on; with --errors: missed, false and wrong class by colour
  tools/visualize.py configs/demo_fusion.py --results work_dirs/demo/test/fused/results.json --errors \\
      --out work_dirs/demo/errors

  # one scene as a video, and to turn around in any browser (one file, opens offline)
  tools/visualize.py --infos data/nuscenes/nuscenes_infos_val.json --scene scene-0103 \\
      --mp4 work_dirs/scene.mp4 --html work_dirs/scene.html

  # depth, attention windows and lifted features
  tools/visualize.py configs/demo_fusion.py --checkpoint work_dirs/demo/latest.pth --limit 3 --out work_dirs/inside
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    source = parser.add_argument_group("which frames")
    source.add_argument("config", nargs="?", type=Path, help="take the data set that this config tests on")
    source.add_argument("--infos", type=Path, help="take this info file (of tools/create_data.py or mmdet3d)")
    source.add_argument("--root", type=Path, help="take a whole dataroot, without info files; needs --version")
    source.add_argument("--version", help="folder of the tables under --root, e.g. v1.0-mini")
    source.add_argument("--scene", help="only frames of this scene, by name or token")
    source.add_argument("--sample", action="append", default=[], help="only this sample token; may be repeated")
    source.add_argument("--list", type=Path, help="only the sample tokens in this text file, one a line")
    source.add_argument("--limit", type=int, default=20, help="at most so many frames, evenly spread (default: 20)")
    source.add_argument("--sweeps", type=int, default=0, help="previous LiDAR sweeps to add (default: 0)")
    what = parser.add_argument_group("what is drawn")
    what.add_argument("--results", type=Path, help="nuScenes submission JSON with detections to draw")
    what.add_argument("--errors", action="store_true", help="colour boxes by error instead of class; needs --results")
    what.add_argument("--checkpoint", type=Path, help="draw the inside of CONFIG's network with these weights")
    what.add_argument(
        "--score",
        type=float,
        default=0.3,
        help="leave out detections below it (default: 0.3; --errors: PNG files and video have each class's best F1)",
    )
    what.add_argument("--range", type=float, default=54.0, help="metres shown around the car (default: 54)")
    out = parser.add_argument_group("where to; at least one")
    out.add_argument("--out", type=Path, help="folder for PNG files, one per frame")
    out.add_argument("--mp4", type=Path, metavar="FILE", help="the same pictures as a video")
    out.add_argument("--fps", type=float, default=2.0, help="pictures per second of the video (default: 2)")
    out.add_argument("--html", type=Path, metavar="FILE", help="interactive viewer in one file that opens offline")
    out.add_argument("--desktop", action="store_true", help="Open3D's window, one frame after another; needs a display")
    parser.add_output_options()
    args = parser.parse_args(argv)
    if sum(source is not None for source in (args.config, args.infos, args.root)) != 1:
        parser.error("give one of CONFIG, --infos and --root")
    if (args.root is None) != (args.version is None):
        parser.error("--root and --version belong together")
    if args.limit < 1 or args.sweeps < 0 or args.range <= 0 or args.fps <= 0:
        parser.error("--limit, --range and --fps must be positive, --sweeps not negative")
    if not (args.out or args.mp4 or args.html or args.desktop):
        parser.error("say where to: --out, --mp4, --html or --desktop")
    if args.errors and not args.results:
        parser.error("--errors needs --results")
    if args.checkpoint and (not args.config or args.html or args.desktop or args.results):
        parser.error("--checkpoint needs CONFIG, and draws to --out and --mp4 only, without --results")
    return args


def body(args: argparse.Namespace) -> dict:
    return {"written": [str(path) for path in draw(args)]}


def draw(args: argparse.Namespace):
    """Draw what the arguments ask for; yields the path of each file that is written."""
    from perception.visualization.frame_source import FrameSource

    dataset = open_dataset(args)
    samples = args.sample + (args.list.read_text(encoding="utf-8").split() if args.list else [])
    detector = None
    if args.checkpoint:
        from perception.engine.inference import Detector

        detector = Detector(args.config, args.checkpoint)
    source = FrameSource(
        dataset,
        choose(dataset, args.scene, samples, args.limit),
        results=args.results,
        errors=args.errors,
        detector=detector,
        score=args.score,
        range_m=args.range,
    )
    if args.out:
        from perception.visualization.frame_picture import write_png

        for name, picture in progress(args, source.pictures(), source, "frames"):
            yield write_png(args.out / f"{name}.png", picture)
    if args.mp4:
        from perception.visualization.video import write_mp4

        pictures = (picture for _, picture in progress(args, source.pictures(), source, "video"))
        yield write_mp4(args.mp4, pictures, args.fps)
    if args.html:
        from perception.visualization.scene_viewer import write_viewer

        frames = list(progress(args, source.viewer_frames(), source, "viewer"))
        yield write_viewer(args.html, frames, source.class_names, args.score)
    if args.desktop:
        from perception.visualization.desktop import show_frames

        show_frames(source, args.score)


def progress(args: argparse.Namespace, frames, source, name: str):
    """The frames behind a progress bar."""
    from tqdm import tqdm

    return tqdm(frames, name, len(source), disable=args.quiet)


def open_dataset(args: argparse.Namespace):
    """The data set of the arguments, loading sweeps and full-size images and nothing else."""
    from perception.datasets.nuscenes import NuScenesFusionDataset
    from perception.datasets.nuscenes_infos import create_info_files
    from perception.datasets.transforms import LoadCameras, LoadSweeps

    options = {"pipeline": [LoadSweeps(args.sweeps), LoadCameras(skip_missing=True)], "test_mode": True}
    if args.infos:
        return NuScenesFusionDataset(str(args.infos), **options)
    if args.config:
        from mmengine.config import Config

        described = Config.fromfile(args.config).test_dataloader.dataset
        kept = {key: described[key] for key in ("ann_file", "data_root", "metainfo") if key in described}
        return NuScenesFusionDataset(**kept, **options)
    with tempfile.TemporaryDirectory() as folder:
        infos = create_info_files(args.root, args.version, folder, args.sweeps, progress=not args.quiet)
        datasets = [NuScenesFusionDataset(str(path), **options) for path in infos.values()]
    from mmengine.dataset import ConcatDataset

    return datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)


def choose(dataset, scene: str | None, samples: list[str], limit: int) -> list[int]:
    """Indices of the frames to draw: of a scene, of named samples, or of all; more than `limit` are thinned out."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    chosen = [
        index
        for index, info in enumerate(infos)
        if (scene is None or scene in (info.get("scene_name"), info.get("scene_token")))
        and (not samples or info["token"] in samples)
    ]
    if not chosen:
        raise ValueError(f"none of the {len(infos)} frames is of scene {scene} and samples {samples or 'any'}")
    step = -(-len(chosen) // limit)
    return chosen[::step]


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, lambda result: "\n".join(result["written"]))


if __name__ == "__main__":
    sys.exit(main())
