"""What each stage of the recipe for full nuScenes costs: one step at full size, measured here; the whole by counting.

    python benchmarks/recipe.py --ann-file data/one-frame/nuscenes_infos_train.json

Every stage runs in a process of its own, whose peak memory it prints: the GPU's, or on a CPU all that the process
holds, in float32 where the CPU has no fast bfloat16. The steps are those of nuScenes' training set on eight processes.
GPU hours are no measurement: products of a step times steps over --tflops, what a card is taken to sustain.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

SAMPLES = 28_130  # nuScenes' training key frames
CBGS_SAMPLES = 123_580  # an epoch of them after class-balanced sampling (OpenPCDet's log of it)
PROCESSES = 8
# config, batch of a process (None: the config's), samples of an epoch
STAGES = {
    "LiDAR": ("nuscenes_lidar.py", None, CBGS_SAMPLES),
    "cameras": ("nuscenes_camera.py", None, SAMPLES),
    "cameras, batch 2": ("nuscenes_camera.py", 2, SAMPLES),
    "fusion": ("nuscenes_fusion.py", None, SAMPLES),
}


def measure(name: str, ann_file: str) -> dict[str, Any]:
    from perception.detector import FusionDetector  # noqa: F401  (mmdet3d imports on mmcv-lite after this)
    from perception.engine.run import load_config
    from perception.engine.step import measure_step

    file, batch, samples = STAGES[name]
    config = load_config(Path(__file__).resolve().parents[1] / "configs" / file)
    batch = batch or config.train_dataloader.batch_size
    measured = measure_step(config, ann_file, batch_size=batch)
    epochs = config.train_cfg.max_epochs
    return {
        "stage": name,
        "batch": batch,
        "epochs": epochs,
        "steps": epochs * math.ceil(samples / (batch * PROCESSES)),
        **{key: measured[key] for key in ("parameters_m", "train_step_s", "train_step_tflop", "peak_memory_gib")},
        "device": measured["device"],
        "threads": measured["threads"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ann-file", required=True, help="info file of key frames with images and annotations")
    parser.add_argument("--only", nargs="+", choices=tuple(STAGES), default=list(STAGES), help="stages to measure")
    parser.add_argument("--tflops", type=float, default=50.0, help="sustained by one card (default: %(default)s)")
    args = parser.parse_args()
    if not Path(args.ann_file).is_file():
        print(f"error: {args.ann_file} does not exist: tools/create_data.py makes it", file=sys.stderr)
        return 1
    print(f"{'stage':18} {'batch':>5} {'params M':>8} {'step s':>7} {'TFLOP':>7} {'GiB':>6} {'steps':>7} {'GPU h':>6}")
    rows = []
    for name in args.only:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure, name, args.ann_file).result()
        row["gpu_h_by_counting"] = round(row["steps"] * PROCESSES * row["train_step_tflop"] / args.tflops / 3600, 1)
        rows.append(row)
        print(
            f"{name:18} {row['batch']:5} {row['parameters_m']:8.2f} {row['train_step_s']:7.1f} "
            f"{row['train_step_tflop']:7.3f} {row['peak_memory_gib']:6.2f} {row['steps']:7} "
            f"{row['gpu_h_by_counting']:6.1f}",
            flush=True,
        )
    for row in rows:
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
