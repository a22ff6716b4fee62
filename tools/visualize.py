#!/usr/bin/env python3
"""Draw frames of a data set to PNG: six cameras and the scene from above, with ground truth and detections."""

import argparse
import sys
import tempfile
from pathlib import Path

EXAMPLES = """examples:
  # ground truth of a dataroot
  tools/visualize.py --root data/nuscenes --version v1.0-mini --limit 5 --out work_dirs/frames

  # ground truth and detections of the data set that a config tests on
  tools/visualize.py configs/demo_fusion.py --results work_dirs/demo/val/results.json --out work_dirs/demo/frames

  # one scene from info files
  tools/visualize.py --infos data/nuscenes/nuscenes_infos_val.json --scene scene-0103 --out work_dirs/scene
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", type=Path, help="take the data set that this config tests on")
    parser.add_argument("--infos", type=Path, help="take this info file (of tools/create_data.py or mmdet3d)")
    parser.add_argument("--root", type=Path, help="take a whole dataroot, without info files; needs --version")
    parser.add_argument("--version", help="folder of the tables under --root, e.g. v1.0-mini")
    parser.add_argument("--results", type=Path, help="nuScenes submission JSON with detections to draw")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files, one per frame")
    parser.add_argument("--scene", help="only frames of this scene, by name or token")
    parser.add_argument("--sample", action="append", default=[], help="only this sample token; may be repeated")
    parser.add_argument("--limit", type=int, default=20, help="at most so many frames, evenly spread (default: 20)")
    parser.add_argument("--score", type=float, default=0.3, help="leave out detections below it (default: 0.3)")
    parser.add_argument("--range", type=float, default=54.0, help="metres shown around the car (default: 54)")
    parser.add_argument("--sweeps", type=int, default=0, help="previous LiDAR sweeps to add (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    if sum(source is not None for source in (args.config, args.infos, args.root)) != 1:
        parser.error("give one of CONFIG, --infos and --root")
    if (args.root is None) != (args.version is None):
        parser.error("--root and --version belong together")
    if args.limit < 1 or args.sweeps < 0 or args.range <= 0:
        parser.error("--limit and --range must be positive, --sweeps not negative")
    return args


def main(argv: list[str] | None = None) -> int:
    """Draw the frames; returns the exit status: 0, or 1 for bad input (named on stderr)."""
    args = parse_args(argv)
    from tqdm import tqdm

    from perception.visualization.frame_picture import write_png
    from perception.visualization.sample_picture import read_results, sample_picture

    try:
        results = read_results(args.results) if args.results else None
        dataset = open_dataset(args)
        chosen = choose(dataset, args.scene, args.sample, args.limit)
        for index in tqdm(chosen, "frames", disable=args.quiet):
            sample = dataset[index]
            token = sample["token"]
            if results is not None and token not in results:
                raise ValueError(f"{args.results} has no sample {token}; was it made from another data set?")
            found = None if results is None else results[token]
            picture = sample_picture(sample, dataset.metainfo["classes"], found, args.score, args.range)
            print(write_png(args.out / f"{index:06d}-{token[:8]}.png", picture))
    except (OSError, ValueError) as error:
        print(f"visualize: error: {error}", file=sys.stderr)
        return 1
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
