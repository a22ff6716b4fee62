"""Preparing info files: time, memory and key frames a second on a synthetic dataroot, and what nuScenes would take.

    python benchmarks/bench_data.py --scenes 40 --workers 2
    python benchmarks/bench_data.py --root data/synthetic --copies 12
    python benchmarks/bench_data.py --root data/synthetic --nuscenes-tables

The dataroot has nuScenes' cameras, sweeps and tables, with small images. `--copies` makes its tables so many times as
long, over the same sensor files; `--nuscenes-tables` as long as those of nuScenes, images between key frames and all.
The time of nuScenes is extrapolated by key frames (34,149) or by records of the large tables, whichever is more; what a
cold disk adds for looking at every file is not in it. Memory is the most that the preparation and its workers had at
one time, pages that they share counted once (PSS, read ten times a second).
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.nuscenes_tables import TABLES, splits_of
from perception.datasets.synthetic import VERSION, generate_dataroot

NUSCENES_RECORDS = {"sample": 34_149, "sample_data": 2_631_083, "ego_pose": 2_631_083, "sample_annotation": 1_166_187}
LARGE_TABLES = ("sample_data", "ego_pose", "sample_annotation")


def prepare(root: Path, out: Path, workers: int, sender: Any) -> None:
    start = time.perf_counter()
    create_info_files(root, VERSION, out, workers=workers, progress=False)
    sender.send(time.perf_counter() - start)


def memory_gib(pid: int) -> float:
    """What a process and its children have, in GiB; those that have just ended count nothing."""
    total = 0.0
    for process in (pid, *_children(pid)):
        try:
            rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 2**20
    return total


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def multiply(source: Path, root: Path, copies: int, like_nuscenes: bool = False) -> dict[str, int]:
    """A dataroot with every record `copies` times, under tokens and scene names of its own, over the same files.

    With `like_nuscenes` there are as many of each table as in nuScenes: fewer objects, and images between key frames.

    Returns the number of records of each table.
    """
    (root / VERSION).mkdir(parents=True)
    for name in ("samples", "sweeps", "maps"):
        (root / name).symlink_to((source / name).resolve())
    tables = {name: json.loads((source / VERSION / f"{name}.json").read_text()) for name in TABLES}
    if like_nuscenes:
        _thin_objects(tables, NUSCENES_RECORDS["sample_annotation"] / copies)
        _fill_between(tables, NUSCENES_RECORDS["sample_data"] / copies)
    counts = {}
    for name, records in tables.items():
        counts[name] = copies * len(records)
        with open(root / VERSION / f"{name}.json", "w", encoding="utf-8") as file:
            for index in range(copies):
                for number, record in enumerate(records):
                    file.write("[\n" if index == number == 0 else ",\n")
                    file.write(json.dumps({key: _renamed(name, key, value, index) for key, value in record.items()}))
            file.write("\n]" if records else "[]")
    splits = {kind: split.scenes for kind, split in splits_of(source, VERSION).items()}
    more = {kind: [f"{name}-{index}" for index in range(copies) for name in names] for kind, names in splits.items()}
    (root / VERSION / "splits.json").write_text(json.dumps(more))
    return counts


def _thin_objects(tables: dict[str, list[dict[str, Any]]], count: float) -> None:
    """Leave out instances, evenly, until about `count` annotations are left."""
    share = count / len(tables["sample_annotation"])
    kept = [
        record for i, record in enumerate(tables["instance"]) if math.floor((i + 1) * share) > math.floor(i * share)
    ]
    tokens = {record["token"] for record in kept}
    tables["instance"] = kept
    tables["sample_annotation"] = [row for row in tables["sample_annotation"] if row["instance_token"] in tokens]


def _fill_between(tables: dict[str, list[dict[str, Any]]], count: float) -> None:
    """Add images between key frames, each with its pose, until there are about `count` records of sensors."""
    poses = {record["token"]: record for record in tables["ego_pose"]}
    images = [record for record in tables["sample_data"] if record["is_key_frame"] and record["fileformat"] == "jpg"]
    for number in range(round((count - len(tables["sample_data"])) / len(images))):
        for image in images:
            pose = f"{image['ego_pose_token']}-{number}-"
            tables["ego_pose"].append({**poses[image["ego_pose_token"]], "token": pose})
            token = f"{image['token']}-{number}-"
            tables["sample_data"].append({**image, "token": token, "ego_pose_token": pose, "is_key_frame": False})


def _renamed(table: str, key: str, value: Any, index: int) -> Any:
    if isinstance(value, str) and value and (key in ("token", "prev", "next") or key.endswith("_token")):
        return f"{value}{index:03d}"
    if key.endswith("_tokens"):
        return [f"{token}{index:03d}" for token in value]
    return f"{value}-{index}" if (table, key) == ("scene", "name") else value


def count(root: Path) -> dict[str, int]:
    return {name: len(json.loads((root / VERSION / f"{name}.json").read_text())) for name in TABLES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--keyframes", type=int, default=10, help="per scene; nuScenes has 40")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="a synthetic dataroot to take instead of making one")
    parser.add_argument("--copies", type=int, default=1, help="tables so many times as long")
    parser.add_argument(
        "--nuscenes-tables",
        action="store_true",
        help="tables as long as nuScenes'",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "root"
        if args.root is None:
            size = (160, 90)
            generate_dataroot(
                root, args.scenes, 1, args.keyframes, workers=args.workers, image_size=size, progress=False
            )
        counts = count(root)
        copies = math.ceil(NUSCENES_RECORDS["sample"] / counts["sample"]) if args.nuscenes_tables else args.copies
        if copies > 1:
            counts = multiply(root, Path(folder) / "copies", copies, args.nuscenes_tables)
            root = Path(folder) / "copies"
        context = multiprocessing.get_context("spawn")  # so that memory is that of the preparation alone
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=prepare, args=(root, Path(folder) / "out", args.workers, sender))
        process.start()
        sender.close()
        memory = 0.0
        while process.is_alive():
            memory = max(memory, memory_gib(process.pid or 0))
            process.join(0.1)
        seconds = receiver.recv()
    records = sum(counts[table] for table in LARGE_TABLES)
    full = sum(NUSCENES_RECORDS[table] for table in LARGE_TABLES)
    share = max(NUSCENES_RECORDS["sample"] / counts["sample"], full / records)
    print(
        json.dumps(
            {
                "name": "data_preparation",
                "scenes": counts["scene"],
                "samples": counts["sample"],
                "records": records,
                "seconds": round(seconds, 2),
                "samples_per_s": round(counts["sample"] / seconds, 1),
                "memory_gib": round(memory, 2),
                "workers": args.workers,
                "cores": len(os.sched_getaffinity(0)),
                "nuscenes_minutes": round(seconds / 60 * share, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
