#!/usr/bin/env python
"""Measure a config on this machine: a training step and a frame of inference, or the making of training samples."""

import argparse
import json
import sys

EXAMPLES = """examples:
  tools/benchmark.py step configs/nuscenes_fusion.py --ann-file data/one-frame/nuscenes_infos_train.json
  tools/benchmark.py step configs/nuscenes_lidar.py --ann-file data/one-frame/nuscenes_infos_train.json --steps 5
  tools/benchmark.py data configs/nuscenes_fusion.py --ann-file data/synthetic/nuscenes_infos_train.json
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="training steps and inference of a config, with peak memory")
    step.add_argument("--steps", type=int, default=1, help="training steps after one to warm up (default: %(default)s)")
    step.add_argument("--batch-size", type=int, help="samples per step (default: the config's)")
    data = commands.add_parser("data", help="samples per second of each transform and of all, in one process")
    data.add_argument("--samples", type=int, default=20, help="samples after one to warm up (default: %(default)s)")
    for command in (step, data):
        command.add_argument("config", help="config file (Python)")
        command.add_argument("--ann-file", help="info file to take samples from (default: the config's)")
        command.add_argument(
            "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the config"
        )
    args = parser.parse_args()

    from perception.engine.data_speed import measure_data
    from perception.engine.options import parse_options
    from perception.engine.run import load_config
    from perception.engine.step import measure_step

    try:
        config = load_config(args.config, parse_options(args.cfg_options))
        if args.command == "data":
            measured = measure_data(config, args.ann_file, args.samples)
        else:
            measured = measure_step(config, args.ann_file, args.steps, args.batch_size)
        print(json.dumps(measured, indent=2))
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
