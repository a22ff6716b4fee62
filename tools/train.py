#!/usr/bin/env python
"""Train a detector from a config."""

import argparse
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/train.py configs/demo_fusion.py
  tools/train.py configs/nuscenes_fusion.py --dry-run
  tools/train.py configs/nuscenes_fusion.py --work-dir work_dirs/fusion --resume --on-bad-data skip
  tools/train.py configs/demo_fusion.py --cfg-options train_dataloader.batch_size=4 randomness.seed=1
  tools/train.py configs/demo_fusion.py --replay work_dirs/demo_fusion/bad_batch.pth
  torchrun --nproc-per-node 8 tools/train.py configs/nuscenes_fusion.py --launcher pytorch
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file (Python code: read it before you run it)")
    parser.add_argument("--work-dir", help="checkpoints and logs (default: work_dirs/<config's name>)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work dir")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check every file of the data, take one step, print sizes and an estimate",
    )
    parser.add_argument("--contents", action="store_true", help="with --dry-run: read and decode every file whole")
    parser.add_argument("--replay", metavar="FILE", help="run the batch again that a training stopped at")
    parser.add_argument(
        "--on-bad-data", choices=("stop", "skip"), help="stop at a damaged file, or go on without it and name it"
    )
    parser.add_config_options()
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_output_options()
    args = parser.parse_args(argv)
    if args.contents and not args.dry_run:
        parser.error("--contents goes with --dry-run")
    return args


def body(args: argparse.Namespace) -> dict:
    from pathlib import Path

    from perception.engine.options import apply_options
    from perception.engine.run import load_config, train

    config = apply_options(load_config(args.config, args.cfg_options), args)
    if args.dry_run:
        from perception.engine.dry_run import dry_run

        return dry_run(config, args.contents, progress=not args.quiet)
    if args.replay:
        from perception.engine.replay import replay

        return replay(config, args.replay)
    work_dir = args.work_dir or Path("work_dirs") / Path(args.config).stem
    return {"checkpoint": str(train(config, work_dir, args.resume, args.launcher))}


def show(result: dict) -> str:
    if "parameters_m" in result:
        from perception.engine.dry_run import describe

        return describe(result)
    return "\n".join(f"{key}: {value}" for key, value in result.items())


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, show)


if __name__ == "__main__":
    sys.exit(main())
