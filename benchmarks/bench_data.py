"""Preparing info files: time, memory and key frames a second on a synthetic dataroot, and what nuScenes would take.

    python benchmarks/bench_data.py --scenes 40 --workers 2

The dataroot has nuScenes' rate of key frames, sweeps and cameras, with small images. Building entries takes a time per
key frame, reading tables one per record: nuScenes' 34,149 key frames and its millions of records, of which radar and
images between key frames are skipped, are extrapolated by whichever is more. What a cold disk adds for looking at every
file is not in it.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.synthetic import VERSION, generate_dataroot

NUSCENES_SAMPLES, NUSCENES_RECORDS = 34_149, 2_631_083 * 2 + 1_166_187  # sample_data and ego_pose, annotations


def prepare(root: Path, out: Path, workers: int, sender: "multiprocessing.connection.Connection") -> None:
    start = time.perf_counter()
    create_info_files(root, VERSION, out, workers=workers, progress=False)
    seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sender.send((seconds, (own + workers * children if workers > 1 else own) / 2**20))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--keyframes", type=int, default=10, help="per scene; nuScenes has 40")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="dataroot to make or use again (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "root"
        generate_dataroot(
            root, args.scenes, 1, args.keyframes, workers=args.workers, image_size=(160, 90), progress=False
        )
        receiver, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")  # so that memory is that of the preparation alone
        process = context.Process(target=prepare, args=(root, Path(folder) / "out", args.workers, sender))
        process.start()
        seconds, memory_gib = receiver.recv()
        process.join()
        tables = {name: json.loads((root / VERSION / f"{name}.json").read_text()) for name in ("sample", "sample_data")}
        annotations = len(json.loads((root / VERSION / "sample_annotation.json").read_text()))
    samples, records = len(tables["sample"]), 2 * len(tables["sample_data"]) + annotations
    print(f"{samples} key frames, {records} large records: {seconds:.1f} s, at most {memory_gib:.2f} GiB")
    share = max(NUSCENES_SAMPLES / samples, NUSCENES_RECORDS / records)
    print(
        json.dumps(
            {
                "name": "data_preparation",
                "scenes": args.scenes,
                "samples": samples,
                "seconds": round(seconds, 2),
                "samples_per_s": round(samples / seconds, 1),
                "memory_gib": round(memory_gib, 2),
                "workers": args.workers,
                "nuscenes_minutes": round(seconds / 60 * share, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
