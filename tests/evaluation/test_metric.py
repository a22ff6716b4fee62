"""The metric as mmengine's evaluator drives it: one process, several ranks, uneven shards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hand_made_nuscenes import Frame, ground_truth
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement, InstanceData
from nuscenes.eval.detection.constants import DETECTION_NAMES

from perception.evaluation.metric import NuScenesDetectionMetric
from perception.evaluation.nuscenes_eval import load_nuscenes
from perception.mmcv_ops import install

install()

VERSION = "v1.0-mini"


def data_sample(frame: Frame, as_mmdet3d: bool = False) -> BaseDataElement:
    """What the detector returns for a sample, here the ground truth; as our tensor or as mmdet3d's boxes."""
    boxes = torch.from_numpy(frame.boxes)
    prediction = InstanceData(scores_3d=torch.linspace(1, 0.5, len(boxes)), labels_3d=torch.from_numpy(frame.labels))
    if as_mmdet3d:
        from mmdet3d.structures import LiDARInstance3DBoxes  # takes seconds, which the ranks below need not pay

        prediction.bboxes_3d = LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5))
    else:
        prediction.boxes = boxes
    sample = BaseDataElement(metainfo={"token": frame.token, "lidar2global": frame.global_from_lidar})
    sample.pred_instances_3d = prediction
    return sample


def make(root: Path, out: Path, **options: Any) -> tuple[NuScenesDetectionMetric, Evaluator]:
    metric = NuScenesDetectionMetric(str(out), **options)
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {"classes": DETECTION_NAMES, "dataroot": str(root), "version": VERSION}
    return metric, evaluator


def frames(root: Path) -> list[Frame]:
    nusc = load_nuscenes(root, VERSION)
    return [ground_truth(nusc, sample["token"]) for sample in nusc.sample]


@pytest.mark.parametrize("as_mmdet3d", [False, True])
def test_ground_truth_scores_one(tables_root: Path, tmp_path: Path, as_mmdet3d: bool) -> None:
    metric, evaluator = make(tables_root, tmp_path, use_camera=False)
    for frame in frames(tables_root):
        evaluator.process([data_sample(frame, as_mmdet3d)])
    scores = evaluator.evaluate(5)
    assert scores["nuscenes/mAP_present"] == pytest.approx(1.0)
    assert scores["nuscenes/AP/car"] == pytest.approx(1.0)
    assert scores["nuscenes/mATE"] < 1
    assert all(isinstance(value, float) for value in scores.values())
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["NDS"] == metric.scores["NDS"] == scores["nuscenes/NDS"]
    submission = json.loads((tmp_path / "results.json").read_text())
    assert not submission["meta"]["use_camera"]
    first = frames(tables_root)[0]
    centre = first.global_from_lidar @ [*first.boxes[0, :3], 1]
    np.testing.assert_allclose(submission["results"][first.token][0]["translation"], centre[:3], atol=1e-3)


def test_part_of_a_split_is_scored_with_a_warning(
    tables_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("perception.evaluation.metric.print_log", lambda text, *_: said.append(text))
    metric, evaluator = make(tables_root, tmp_path)
    evaluator.dataset_meta = {**evaluator.dataset_meta, "split": "mini_train"}
    evaluator.process([data_sample(frame) for frame in frames(tables_root)[:2]])
    evaluator.evaluate(2)
    assert metric.scores["scored"] == {"samples": 2, "split": "mini_train", "samples_in_split": 3, "restricted": True}
    assert said == ["scored on 2 of the 3 samples of split mini_train"]


def test_format_only_writes_no_score(tables_root: Path, tmp_path: Path) -> None:
    _, evaluator = make(tables_root, tmp_path, format_only=True)
    evaluator.process([data_sample(frame) for frame in frames(tables_root)])
    assert evaluator.evaluate(5) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_repeated_samples_count_once_and_missing_ones_are_told(tables_root: Path, tmp_path: Path) -> None:
    every = frames(tables_root)
    _, evaluator = make(tables_root, tmp_path)
    evaluator.process([data_sample(frame) for frame in every + every[:2]])
    assert evaluator.evaluate(5)["nuscenes/mAP_present"] == pytest.approx(1.0)
    evaluator.process([data_sample(frame) for frame in every[:4]])
    with pytest.raises(RuntimeError, match="predictions for 4 samples, but the data set has 5"):
        evaluator.evaluate(5)


def test_a_sample_without_its_pose_is_refused(tables_root: Path, tmp_path: Path) -> None:
    _, evaluator = make(tables_root, tmp_path)
    with pytest.raises(KeyError, match="lacks 'lidar2global'"):
        evaluator.process([BaseDataElement(metainfo={"token": "t"})])


def _rank(rank: int, world: int, root: Path, out: Path, address: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    _, evaluator = make(root, out / "scores")
    # Five samples on two ranks: one has two, the other three and, repeated in front, a sample of the first.
    every = frames(root)
    mine = [every[0], every[2]] if rank == 0 else [every[0], every[1], every[3], every[4]]
    evaluator.process([data_sample(frame) for frame in mine])
    scores = evaluator.evaluate(5)
    (out / f"rank{rank}.json").write_text(json.dumps(scores))
    torch.distributed.destroy_process_group()


def test_uneven_ranks_lose_no_sample(tables_root: Path, tmp_path: Path) -> None:
    address = f"file://{tmp_path / 'rendezvous'}"
    torch.multiprocessing.spawn(_rank, (2, tables_root, tmp_path, address), nprocs=2)
    scores = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert scores[0] == scores[1]
    assert scores[0]["nuscenes/mAP_present"] == pytest.approx(1.0)
    submission = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert len(submission["results"]) == 5
