"""The demo's road: synthetic data, training, scores with and without each sensor, report and pictures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from tqdm import tqdm

from perception.datasets.nuscenes_infos import create_info_files
from perception.engine.run import SENSORS, evaluate, load_config, train
from perception.evaluation.json_file import write_json
from perception.visualization.frame_picture import write_png
from perception.visualization.report import write_report
from perception.visualization.sample_picture import read_results, sample_picture

PICTURES = 6
# Parts that a fused detector begins from a LiDAR detector's.
BUT_THE_CAMERAS = ("lidar", "fuser", "decoder", "head", "second_stage")
# Less than half the cameras' size, twice the 352 px that the network sees: drawing and decoding cost by the pixel.
IMAGE_SIZE = (704, 396)


def run_demo(
    config: str | Path,
    lidar_config: str | Path,
    data: str | Path,
    work_dir: str | Path,
    train_scenes: int,
    val_scenes: int,
    keyframes: int,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run what is not there yet; returns metrics.json: {fused, lidar_only, camera_only, lidar_alone, stages_s}.

    First the LiDAR detector of `lidar_config` is trained, in `work_dir`/lidar; then that of `config`, which begins from
    it (`begun_from`). A data set of the same parameters is re-used, and so is a finished
    training; an interrupted one goes on. `options` change values of both configs, those of the cameras of one.
    """
    from perception.datasets.synthetic import VERSION, generate_dataroot

    data, work_dir = Path(data), Path(work_dir)
    metrics_path = work_dir / "metrics.json"
    # Stages that are not run again keep the time that they took.
    stages_s: dict[str, float] = {}
    if metrics_path.is_file():
        stages_s = json.loads(metrics_path.read_text())["stages_s"]
    workers = os.cpu_count() or 1

    infos = {split: data / f"nuscenes_infos_{split}.json" for split in ("train", "val")}

    annotations = {
        "train_dataloader.dataset.ann_file": str(infos["train"]),
        "test_dataloader.dataset.ann_file": str(infos["val"]),
    }
    without_cameras = {key: value for key, value in (options or {}).items() if ".camera." not in key}
    lidar_dir = work_dir / "lidar"

    def demo_config() -> Config:
        return load_config(config, {**annotations, **begun_from(lidar_dir / "latest.pth"), **(options or {})})

    def alone_config() -> Config:
        return load_config(lidar_config, {**annotations, **without_cameras})

    for build in (demo_config, alone_config):
        build()  # a config that cannot be used says so before the data set is made
    start = time.perf_counter()
    generate_dataroot(data, train_scenes, val_scenes, keyframes, workers=workers, image_size=IMAGE_SIZE)
    if not all(path.is_file() for path in infos.values()):
        create_info_files(data, VERSION, data, workers=workers)
        stages_s["data"] = time.perf_counter() - start

    for stage, folder, build in (("lidar", lidar_dir, alone_config), ("train", work_dir, demo_config)):
        if not (folder / "latest.pth").is_file():
            start = time.perf_counter()
            train(build(), folder, resume=(folder / "last_checkpoint").is_file())
            stages_s[stage] = time.perf_counter() - start

    start = time.perf_counter()
    scores = evaluate(demo_config(), work_dir / "latest.pth", work_dir / "test", tuple(SENSORS))
    alone = evaluate(alone_config(), lidar_dir / "latest.pth", lidar_dir / "test")
    stages_s["score"] = time.perf_counter() - start

    start = time.perf_counter()
    frames = draw_frames(demo_config(), work_dir / "test" / "fused" / "results.json", work_dir / "frames")
    written = {name: work_dir / "test" / name for name in scores} | {"lidar_alone": lidar_dir / "test" / "fused"}
    full = {name: json.loads((folder / "scores.json").read_text()) for name, folder in written.items()}
    write_report(
        work_dir / "report.html",
        full,
        title="Camera and LiDAR detection on the synthetic world",
        facts={"config": str(config), "train scenes": str(train_scenes), "held-out scenes": str(val_scenes)},
        stages_s=stages_s,
        scalars=sorted(work_dir.glob("*/vis_data/scalars.json")),
        frames=frames,
    )
    stages_s["report"] = time.perf_counter() - start
    metrics = {**scores, "lidar_alone": alone["fused"]}
    metrics["stages_s"] = {name: round(seconds, 1) for name, seconds in stages_s.items()}
    write_json(metrics_path, metrics, indent=2)
    return metrics


def begun_from(lidar: str | Path) -> dict[str, Any]:
    """Changes of a fused detector's config by which it begins where a LiDAR detector's checkpoint ended. The LiDAR
    branch stays as it is."""
    return {"model.part_checkpoints": dict.fromkeys(BUT_THE_CAMERAS, str(lidar)), "model.frozen": ["lidar"]}


def draw_frames(config: Config, results: str | Path, out: str | Path, count: int = PICTURES) -> list[Path]:
    """Pictures of `count` frames of the test set, evenly spaced, with ground truth and detections; their paths."""
    from mmdet3d.registry import DATASETS

    from perception.datasets.transforms import LoadCameras, LoadSweeps

    dataset_config = dict(config.test_dataloader.dataset)
    dataset_config["pipeline"] = [{"type": LoadSweeps, "sweeps": 0}, {"type": LoadCameras}]
    dataset = DATASETS.build(dataset_config)
    detections = read_results(results)
    step = max(1, len(dataset) // count)
    paths = []
    for index in tqdm(range(0, len(dataset), step)[:count], desc="pictures", unit="frame", disable=None):
        sample = dataset[index]
        picture = sample_picture(sample, dataset.metainfo["classes"], detections[sample["token"]])
        paths.append(write_png(Path(out) / f"{index:04d}.png", picture))
    return paths
