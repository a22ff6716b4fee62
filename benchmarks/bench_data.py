"""Preparing info files: time, memory and key frames a second on a synthetic dataroot, and what nuScenes would take.

    python benchmarks/bench_data.py --scenes 40 --workers 2
    python benchmarks/bench_data.py --root data/synthetic --copies 12

The dataroot has nuScenes' cameras, sweeps and tables, with small images. `--copies` makes its tables so many times as
long, over the same sensor files. The time of nuScenes is extrapolated by key frames (34,149) or by records of the large
tables, whichever is more: radar and images between key frames are read there and skipped. What a cold disk adds for
looking at every file is not in it.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.nuscenes_tables import TABLES, splits_of
from perception.datasets.synthetic import VERSION, generate_dataroot

NUSCENES_SAMPLES = 34_149
NUSCENES_RECORDS = 2 * 2_631_083 + 1_166_187  # sample_data and their poses, annotations
LARGE_TABLES = ("sample_data", "ego_pose", "sample_annotation")


def prepare(root: Path, out: Path, workers: int, sender: Any) -> None:
    start = time.perf_counter()
    create_info_files(root, VERSION, out, workers=workers, progress=False)
    seconds = time.perf_counter() - start
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # As if forked workers shared nothing.
    sender.send((seconds, (own + (workers * child if workers > 1 else 0)) / 2**20))


def multiply(source: Path, root: Path, copies: int) -> None:
    """A dataroot with every record `copies` times, under tokens and scene names of its own, over the same files."""
    (root / VERSION).mkdir(parents=True)
    for name in ("samples", "sweeps", "maps"):
        (root / name).symlink_to((source / name).resolve())
    for table in TABLES:
        records = json.loads((source / VERSION / f"{table}.json").read_text())
        with open(root / VERSION / f"{table}.json", "w", encoding="utf-8") as file:
            for index in range(copies):
                for number, record in enumerate(records):
                    file.write("[\n" if index == number == 0 else ",\n")
                    file.write(json.dumps({key: _renamed(table, key, value, index) for key, value in record.items()}))
            file.write("\n]" if records else "[]")
    splits = {kind: split.scenes for kind, split in splits_of(source, VERSION).items()}
    more = {kind: [f"{name}-{index}" for index in range(copies) for name in names] for kind, names in splits.items()}
    (root / VERSION / "splits.json").write_text(json.dumps(more))


def _renamed(table: str, key: str, value: Any, index: int) -> Any:
    if isinstance(value, str) and value and (key in ("token", "prev", "next") or key.endswith("_token")):
        return f"{value}{index:02d}"
    if key.endswith("_tokens"):
        return [f"{token}{index:02d}" for token in value]
    return f"{value}-{index}" if (table, key) == ("scene", "name") else value


def count(root: Path, table: str) -> int:
    return len(json.loads((root / VERSION / f"{table}.json").read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--keyframes", type=int, default=10, help="per scene; nuScenes has 40")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="a synthetic dataroot to take instead of making one")
    parser.add_argument("--copies", type=int, default=1, help="tables so many times as long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "root"
        if args.root is None:
            size = (160, 90)
            generate_dataroot(
                root, args.scenes, 1, args.keyframes, workers=args.workers, image_size=size, progress=False
            )
        if args.copies > 1:
            multiply(root, Path(folder) / "copies", args.copies)
            root = Path(folder) / "copies"
        context = multiprocessing.get_context("spawn")  # so that memory is that of the preparation alone
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=prepare, args=(root, Path(folder) / "out", args.workers, sender))
        process.start()
        seconds, memory_gib = receiver.recv()
        process.join()
        scenes, samples = count(root, "scene"), count(root, "sample")
        records = sum(count(root, table) for table in LARGE_TABLES)
    share = max(NUSCENES_SAMPLES / samples, NUSCENES_RECORDS / records)
    print(
        json.dumps(
            {
                "name": "data_preparation",
                "scenes": scenes,
                "samples": samples,
                "records": records,
                "seconds": round(seconds, 2),
                "samples_per_s": round(samples / seconds, 1),
                "memory_gib": round(memory_gib, 2),
                "workers": args.workers,
                "cores": len(os.sched_getaffinity(0)),
                "nuscenes_minutes": round(seconds / 60 * share, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
