"""The demo's config from training to scores, on the made-up images."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from perception.engine.run import evaluate, load_config, train

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "panoptic_demo.py"


@pytest.mark.parametrize("supervision", ["points", "masks", "labels"])
def test_trains_and_scores(supervision: str, truth_file: Path, points_file: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "model.supervision": "masks" if supervision == "masks" else "points",
        "model.network.head.query_grid": (2, 4),
        "train_dataloader.dataset.points": str(points_file) if supervision == "labels" else 1,
        "train_cfg.max_epochs": 1,
        "test_evaluator.ann_file": str(truth_file),
    }
    for loader in ("train_dataloader", "test_dataloader"):
        options[f"{loader}.batch_size"] = 2
        options[f"{loader}.dataset.data_root"] = str(truth_file.parent)
        options[f"{loader}.dataset.ann_file"] = str(truth_file)
        options[f"{loader}.dataset.size_hw"] = (32, 64)
    config = load_config(CONFIG, {**options, "default_hooks.logger.interval": 1})
    config.param_scheduler[0].total_steps = 1
    checkpoint = train(config, tmp_path)
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(("pseudo_miou" in row) == (supervision != "masks") for row in rows) and rows
    scores = evaluate(load_config(CONFIG, options), checkpoint, tmp_path / "test")["2d"]
    assert all(0 <= scores[name] <= 1 for name in ("PQ", "PQ_things", "PQ_stuff", "SQ", "RQ"))
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())["2d"]["PQ"] == scores["PQ"]
    assert torch.load(checkpoint, weights_only=True)["state_dict"]["criterion.steps"] == len(rows)
