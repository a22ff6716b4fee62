"""What the cameras bring: the demo's detector with either fuser, against its LiDAR branch trained alone.

configs/demo_fusion.py, demo_fusion_gated.py and demo_lidar.py with the same data, samples and seeds. Of a fused
detector the same weights are also scored with one of the sensors off. A run that is finished is kept in --work-dir.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/ablate_fusion.py [--data data/synthetic] [--epochs 7] [--seeds 0 1 2] [--only lidar concat gated]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from typing import Any

from training import add_arguments, lidar_config

from perception.engine.run import SENSORS, evaluate, train

CONFIGS = {"lidar": "demo_lidar.py", "concat": "demo_fusion.py", "gated": "demo_fusion_gated.py"}


def run(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them."""
    work_dir = args.work_dir / f"{name}_{seed}"
    finished = work_dir / "row.json"
    if finished.is_file():
        row: dict[str, Any] = json.loads(finished.read_text())
        return row
    config = lidar_config(args.data, args.epochs, args.lr, CONFIGS[name], float32=False)
    config.randomness.seed = seed
    interrupted = args.resume and (work_dir / "last_checkpoint").is_file()
    checkpoint = train(copy.deepcopy(config), work_dir, resume=interrupted)
    sensors = ("fused",) if name == "lidar" else tuple(SENSORS)
    scores = evaluate(copy.deepcopy(config), checkpoint, work_dir / "test", sensors)
    row = {"name": name, "seed": seed, **{key: round(100 * value["NDS"], 1) for key, value in scores.items()}}
    row["AP"] = {key: round(100 * value, 1) for key, value in scores["fused"]["AP"].items()}
    finished.write_text(json.dumps(row))
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/ablate_fusion", epochs=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=tuple(CONFIGS), default=tuple(CONFIGS), help="run some of them")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for name in args.only:
            try:
                rows.append(run(name, seed, args))
            except FileNotFoundError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            print(json.dumps(rows[-1]), flush=True)
    print(f"{'model':8}" + "".join(f"{name:>18}" for name in SENSORS) + "   (100 NDS: mean and range over seeds)")
    for name in args.only:
        own = [row for row in rows if row["name"] == name]
        print(f"{name:8}", end="")
        for sensors in SENSORS:
            values = [row[sensors] for row in own if sensors in row]
            text = f"{statistics.mean(values):.1f} {min(values):.1f}-{max(values):.1f}" if values else "-"
            print(f"{text:>18}", end="")
        print()
    print("AP of the classes, means over seeds:")
    for label in rows[0]["AP"]:
        means = {n: statistics.mean(row["AP"][label] for row in rows if row["name"] == n) for n in args.only}
        print(f"{label:22}" + "".join(f"{n:>8} {value:5.1f}" for n, value in means.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
