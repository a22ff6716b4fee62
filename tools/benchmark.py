#!/usr/bin/env python
"""Measure a config on this machine: a training step and a frame of inference, or the making of training samples."""

import argparse
import json
import sys

from perception.command_line import Parser, run

EXAMPLES = """examples:
  tools/benchmark.py step configs/nuscenes_fusion.py --ann-file data/one-frame/nuscenes_infos_train.json
  tools/benchmark.py step configs/nuscenes_lidar.py --ann-file data/one-frame/nuscenes_infos_train.json --steps 5
  tools/benchmark.py data configs/nuscenes_fusion.py --ann-file data/synthetic/nuscenes_infos_train.json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="training steps and inference of a config, with peak memory")
    step.add_argument("--steps", type=int, default=1, help="training steps after one to warm up (default: %(default)s)")
    step.add_argument("--batch-size", type=int, help="samples per step (default: the config's)")
    data = commands.add_parser("data", help="samples per second of each transform and of all, in one process")
    data.add_argument("--samples", type=int, default=20, help="samples after one to warm up (default: %(default)s)")
    for command in (step, data):
        command.add_argument("config", help="config file (Python code: read it before you run it)")
        command.add_argument("--ann-file", help="info file to take samples from (default: the config's)")
        command.add_config_options()
        command.add_output_options()
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> dict:
    from perception.engine.data_speed import measure_data
    from perception.engine.options import apply_options
    from perception.engine.run import load_config
    from perception.engine.step import measure_step

    config = apply_options(load_config(args.config, args.cfg_options), args)
    if args.command == "data":
        return measure_data(config, args.ann_file, args.samples)
    return measure_step(config, args.ann_file, args.steps, args.batch_size)


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), body, lambda result: json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
