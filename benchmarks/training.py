"""Trains a model on the synthetic data set, scores and times it: what the peer comparison and the ablations share."""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

import perception.detector  # noqa: F401  (mmdet3d imports on mmcv-lite after this)
from perception.engine.checkpoints import read_checkpoint
from perception.engine.run import evaluate, load_config, train
from perception.engine.step import measure_step

ROOT = Path(__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser, work_dir: str, epochs: int) -> None:
    """--data, --work-dir, --epochs, --lr and --resume."""
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with info files")
    parser.add_argument("--work-dir", type=Path, default=ROOT / work_dir, help="checkpoints and scores")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the data (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="top of the learning rate (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints that --work-dir has")


def lidar_config(data: Path, epochs: int, lr: float, name: str = "demo_lidar.py", float32: bool = True) -> Any:
    """configs/`name`, a LiDAR config of the demo's, on the data set at `data`; in float32 or as the config has it.

    Raises FileNotFoundError where the data set has no info files.
    """
    for split in ("train", "val"):
        if not (data / f"nuscenes_infos_{split}.json").is_file():
            raise FileNotFoundError(
                f"no nuscenes_infos_{split}.json in {data}: tools/create_data.py synthetic makes it"
            )
    options: dict[str, Any] = {"optim_wrapper.type": "mmengine.optim.OptimWrapper"} if float32 else {}
    config = load_config(
        ROOT / "configs" / name,
        {
            "train_dataloader.dataset.ann_file": str(data / "nuscenes_infos_train.json"),
            "test_dataloader.dataset.ann_file": str(data / "nuscenes_infos_val.json"),
            "train_cfg.max_epochs": epochs,
            **options,
        },
    )
    config.param_scheduler[0].total_steps = epochs
    config.param_scheduler[0].eta_max = lr
    return config


def train_and_score(name: str, config: Any, work_dir: Path, resume: bool = False) -> dict[str, Any]:
    """Train, score on the held-out scenes, time five steps and frames. With `resume` a training that was interrupted
    goes on; without, it starts from nothing."""
    interrupted = resume and (work_dir / name / "last_checkpoint").is_file()
    checkpoint = train(copy.deepcopy(config), work_dir / name, resume=interrupted)
    scores = evaluate(copy.deepcopy(config), checkpoint, work_dir / name / "test")["fused"]
    # In a process of its own: peak memory is a process's, and it never falls.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        measured = pool.submit(measure_step, copy.deepcopy(config), steps=5).result()
    return {
        "name": name,
        "samples": len(json.loads(Path(config.train_dataloader.dataset.ann_file).read_text())["data_list"])
        * config.train_cfg.max_epochs,
        "NDS": round(scores["NDS"], 4),
        "mAP": round(scores["mAP"], 4),
        "AP": {key: round(value, 3) for key, value in scores["AP"].items()},
        "train_step_ms": round(1e3 * measured["train_step_s"], 1),
        "inference_ms": round(1e3 * measured["inference_s"], 1),
        "parameters_m": round(measured["parameters_m"], 2),
        "memory_gib": measured["peak_memory_gib"],
        "device": measured["device"],
        "threads": measured["threads"],
    }


def first_stage(config: Any, checkpoint: Path, out_dir: Path) -> dict[str, Any]:
    """Scores of the same weights without the second stage."""
    config = copy.deepcopy(config)
    config.model.network.second_stage = None
    weights = read_checkpoint(checkpoint)["state_dict"]
    plain = checkpoint.with_name("first_stage.pth")
    torch.save({"state_dict": {k: v for k, v in weights.items() if not k.startswith("network.second_stage.")}}, plain)
    return evaluate(config, plain, out_dir / "first_stage")["fused"]


def print_table(rows: list[dict[str, Any]]) -> None:
    """The rows as a table, then each as a line of JSON."""
    print(f"{'model':20} {'NDS':>6} {'mAP':>6} {'step ms':>8} {'frame ms':>8} {'params M':>8} {'GiB':>5}")
    for row in rows:
        print(
            f"{row['name']:20} {row['NDS']:6.3f} {row['mAP']:6.3f} {row['train_step_ms']:8.1f} "
            f"{row['inference_ms']:8.1f} {row['parameters_m']:8.2f} {row['memory_gib']:5.2f}"
        )
    for row in rows:
        print(json.dumps(row))
