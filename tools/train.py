#!/usr/bin/env python
"""Train a detector from a config."""

import argparse
import sys

EXAMPLES = """examples:
  tools/train.py configs/demo_fusion.py
  tools/train.py configs/nuscenes_fusion.py --work-dir work_dirs/fusion --resume
  tools/train.py configs/demo_fusion.py --cfg-options train_dataloader.batch_size=4 randomness.seed=1
  torchrun --nproc-per-node 8 tools/train.py configs/nuscenes_fusion.py --launcher pytorch
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file (Python)")
    parser.add_argument("--work-dir", help="checkpoints and logs (default: work_dirs/<config's name>)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work dir")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the config")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    args = parser.parse_args()

    from pathlib import Path

    from perception.engine.options import parse_options
    from perception.engine.run import load_config, train

    try:
        config = load_config(args.config, parse_options(args.cfg_options))
        work_dir = args.work_dir or Path("work_dirs") / Path(args.config).stem
        checkpoint = train(config, work_dir, args.resume, args.launcher)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"checkpoint: {checkpoint}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
