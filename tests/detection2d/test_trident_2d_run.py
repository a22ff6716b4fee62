"""The 2D detector from config to COCO scores, and the full-size configs."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pycocotools.coco import COCO

import perception.detection2d  # noqa: F401

# isort: split
from mmdet.registry import DATASETS, MODELS
from mmengine.registry import init_default_scope

from perception.datasets.coco_from_infos import create_coco_file
from perception.datasets.nuscenes_infos import CLASSES
from perception.detection2d import CocoScores
from perception.engine.run import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
DEMO = CONFIGS / "trident_2d_demo.py"


@pytest.fixture(scope="module")
def options(tiny_synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demo's config on six key frames' images, with a narrow network."""
    out = tmp_path_factory.mktemp("coco2d")
    for split in ("train", "val"):
        create_coco_file(tiny_synthetic / f"nuscenes_infos_{split}.json", out / f"coco2d_{split}.json", progress=False)
    return {
        "train_dataloader.dataset.data_root": f"{tiny_synthetic}/",
        "train_dataloader.dataset.ann_file": str(out / "coco2d_train.json"),
        "test_dataloader.dataset.data_root": f"{tiny_synthetic}/",
        "test_dataloader.dataset.ann_file": str(out / "coco2d_val.json"),
        "test_evaluator.ann_file": str(out / "coco2d_val.json"),
        # Not 8: torch 2.13's strided 1x1 convolution of 8 channels-last channels writes past its memory in backward.
        "model.backbone.base_channels": 16,
        "model.rpn_head.in_channels": 64,
        "model.rpn_head.feat_channels": 64,
        "model.roi_head.bbox_roi_extractor.out_channels": 64,
        "model.roi_head.bbox_head.in_channels": 64,
        "model.roi_head.bbox_head.fc_out_channels": 32,
        "train_cfg.max_epochs": 1,
    }


def run_tool(name: str, *arguments: str) -> int:
    """The exit status of a tool of this repository, run in this process."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        status: int = module.main()
    return status


def test_tools_train_and_score(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--cfg-options", *(f"{name}={value}" for name, value in options.items())]
    assert run_tool("train", str(DEMO), "--work-dir", str(tmp_path), *changes) == 0
    checkpoint, out = str(tmp_path / "latest.pth"), tmp_path / "test"
    capsys.readouterr()
    assert run_tool("test", str(DEMO), checkpoint, *changes) == 0
    scores = json.loads((out / "metrics.json").read_text())["2d"]
    assert {"AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AP_per_class", "ms_per_frame"} == scores.keys()
    assert 0 <= scores["AP"] <= 1 and scores["AP_per_class"].keys() == set(CLASSES)
    printed = capsys.readouterr().out
    shown = json.loads(printed[printed.rindex('{\n  "2d"') :])["2d"]
    assert shown == {name: value for name, value in scores.items() if name != "AP_per_class"}
    assert (out / "2d" / "results.bbox.json").is_file()
    assert run_tool("test", str(DEMO), checkpoint, "--sensors", "lidar_only", *changes) == 1
    assert "no sensors to switch off" in capsys.readouterr().err


def coco_metric(options: dict[str, Any], out: Path) -> CocoScores:
    metric = CocoScores(ann_file=options["test_evaluator.ann_file"], out_dir=str(out))
    metric.dataset_meta = {"classes": CLASSES}
    return metric


def test_scores_of_the_truth_and_of_nothing(options: dict[str, Any], tmp_path: Path) -> None:
    coco = COCO(options["test_evaluator.ann_file"])
    for found, expected in ((True, 1.0), (False, 0.0)):
        metric = coco_metric(options, tmp_path)
        for number, image in coco.imgs.items():
            rows = [row for row in coco.imgToAnns[number] if found and not row["iscrowd"]]
            xywh = torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4)
            pred = {
                "bboxes": torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1),
                "scores": torch.ones(len(rows)),
                "labels": torch.tensor([row["category_id"] - 1 for row in rows], dtype=torch.long),
            }
            size = (image["height"], image["width"])
            metric.process({}, [{"img_id": number, "ori_shape": size, "pred_instances": pred}])
        assert metric.evaluate(len(coco.imgs))["coco/AP"] == metric.scores["AP"] == expected
        per_class = [value for value in metric.scores["AP_per_class"].values() if value is not None]
        assert all(value == expected for value in per_class)
    with pytest.raises(FileNotFoundError, match=r"none.json.*create_data"):
        CocoScores(ann_file=str(tmp_path / "none.json"), out_dir=str(tmp_path))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("trident_2d_*.py")), ids=lambda p: p.stem)
def test_config_builds(path: Path, tmp_path: Path) -> None:
    """Every 2D config builds; fast ones have no ranges and a branch to run."""
    config = load_config(path)
    init_default_scope("mmdet")
    model = MODELS.build(config.model)
    fast = model.test_branch is not None
    assert fast == (model.valid_ranges == [(0.0, float("inf"))] * 3)
    assert fast == ("fast" in path.stem or "caffe" in path.stem)
    empty = tmp_path / "coco.json"
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    for loader in (config.train_dataloader, config.test_dataloader):
        dataset = dict(loader.dataset, ann_file=str(empty), data_root="", lazy_init=True)
        assert DATASETS.build(dataset).pipeline.transforms
