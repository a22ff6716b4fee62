#!/usr/bin/env python3
"""Convert a checkpoint of another project's code to ours, to train on (load_from) or to compare with."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perception.command_line import Parser, run

if TYPE_CHECKING:
    from perception.engine.convert import Conversion

EXAMPLES = """examples:
  # a detector of tusen-ai/SST; the config's grid says how its point features are scaled
  tools/convert_checkpoint.py sst epoch_12.pth work_dirs/sst.pth --config configs/my_lidar.py \\
      --points x,y,z,intensity,elongation --max-intensity 1 --drop bbox_head --drop neck
  # then start training from it
  tools/train.py configs/my_lidar.py --work-dir work_dirs/my --cfg-options load_from=work_dirs/sst.pth

  # the backbone alone
  tools/convert_checkpoint.py sst epoch_12.pth work_dirs/sst.pth --drop voxel_encoder --drop bbox_head --drop neck

  # torchvision's or mmpretrain's ResNet, to start a camera branch or a 2D detector from
  tools/convert_checkpoint.py trident resnet50.pth work_dirs/resnet50.pth --config configs/nuscenes_camera.py

  # mmdet's published TridentNet, whole
  tools/convert_checkpoint.py trident tridentnet_r50_caffe_1x_coco.pth work_dirs/trident.pth \\
      --config configs/trident_2d_r50_caffe_coco.py
"""
SST_NOTES = """What a checkpoint does not hold must be the same in your config: window, position_temperature, tau_min,
dilations and shortcut of the attached convolutions. tanh(intensity), which the official Waymo configs train on,
converts only approximately: our networks are given the intensity itself."""

TRIDENT_NOTES = """What a checkpoint does not hold must be the same in your config: the backbone's style (mmdet's
"caffe" weights stride in a bottleneck's first convolution) and the images' mean, deviation and order of colours."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{sst,trident}")
    sst = commands.add_parser(
        "sst",
        help="the official SST code (tusen-ai/SST)",
        description=f"Convert a checkpoint of tusen-ai/SST (SSTv2).\n\n{SST_NOTES}",
    )
    trident = commands.add_parser(
        "trident",
        help="ResNet and TridentNet weights of torchvision, mmpretrain and mmdet",
        description=f"Convert a ResNet or a detector of mmdet for a camera branch or 2D detector.\n\n{TRIDENT_NOTES}",
    )
    for command in (sst, trident):
        command.add_argument(
            "checkpoint",
            type=Path,
            metavar="IN",
            help="torch checkpoint, .safetensors, or .npz with weights/<name> arrays",
        )
        command.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
        command.add_argument(
            "--prefix", default="", help="what stands before 'backbone.' in IN's names, such as module."
        )
        command.add_argument(
            "--drop", action="append", default=[], metavar="MODULE", help="leave out a module; may be given again"
        )
        command.add_argument(
            "--allow-left-over", action="store_true", help="write OUT although weights of IN have no place in it"
        )
        command.add_output_options()
    sst.add_argument("--config", type=Path, help="our config that the weights are for; needed for the voxel encoder")
    sst.add_argument(
        "--points",
        metavar="NAMES",
        help="IN's point features in order, of x,y,z,intensity,age,elongation; needed for five",
    )
    sst.add_argument(
        "--max-intensity", type=float, default=255.0, help="IN's intensity where ours is 255 (default: %(default)s)"
    )
    trident.add_argument("--config", type=Path, required=True, help="our config that the weights are for")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    # Imported here, not above: --help should not wait for torch.
    from perception.engine.convert import modules, write_checkpoint

    done = from_sst(args) if args.command == "sst" else from_trident(args)
    for name in done.left_over:
        print(f"left over: {name}", file=sys.stderr)
    if done.left_over and not args.allow_left_over:
        raise ValueError(
            f"{len(done.left_over)} weights have no place in ours, of {', '.join(modules(done.left_over))}: "
            "leave modules out with --drop, or go on with --allow-left-over"
        )
    write_checkpoint(args.out, done.state, {"converted_from": args.checkpoint.name, "project": args.command})
    counts = {"weights": len(done.state), "dropped": len(done.dropped), "left_over": len(done.left_over)}
    return {"out": str(args.out), **counts, "notes": done.notes}


def from_sst(args: argparse.Namespace) -> "Conversion":
    """The weights of an official SST checkpoint."""
    from perception.engine.convert import read_weights
    from perception.engine.convert_sst import convert_sst, lidar_branch

    branch = lidar_branch(args.config) if args.config else None
    points = args.points.split(",") if args.points else None
    return convert_sst(read_weights(args.checkpoint), branch, args.prefix, args.drop, points, args.max_intensity)


def from_trident(args: argparse.Namespace) -> "Conversion":
    """The weights of a ResNet or of mmdet's TridentNet."""
    from perception.engine.convert import read_weights
    from perception.engine.convert_trident import convert_trident, trident_target

    state = read_weights(args.checkpoint)
    target, backbone = trident_target(args.config)
    return convert_trident(state, target, backbone, args.prefix, args.drop)


def show(result: dict) -> str:
    counts = f"({result['dropped']} dropped, {result['left_over']} left over)"
    return "\n".join(
        [*(f"note: {note}" for note in result["notes"]), f"{result['weights']} weights -> {result['out']} {counts}"]
    )


def main(argv: list[str] | None = None) -> int:
    """Convert; returns the exit status (perception/command_line.py)."""
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
