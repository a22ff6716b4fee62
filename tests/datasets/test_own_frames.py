"""A folder of one's own frames to train on: the same samples as by nuScenes' road, and errors that name the field."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from small_dataroot import LANDMARKS, LIDAR_POSE, ego_pose, matrix

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.datasets.transforms import LoadAnnotations3D

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.own_frames import OwnFramesDataset, create_folder_infos
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame
from perception.evaluation.own_metric import OwnFramesMetric

NAMES = ("first", "second")


@pytest.fixture
def folder(small_infos: Path, tmp_path: Path) -> Path:
    """The small data set as anyone's recording, each frame with a calibration of its own."""
    root = tmp_path / "own"
    for part in ("lidar", "boxes", "calibration"):
        (root / part).mkdir(parents=True)
    (root / "calibration.json").write_text('{"cameras": {}}')
    dataset = NuScenesFusionDataset(str(small_infos), min_lidar_points=0)
    for name, info in zip(NAMES, dataset, strict=True):
        shutil.copy(info["lidar_path"], root / "lidar" / f"{name}.bin")
        cameras = {}
        for channel, image in info["images"].items():
            (root / channel).mkdir(exist_ok=True)
            shutil.copy(image["img_path"], root / channel / f"{name}.jpg")
            cameras[channel] = {
                "camera_from_lidar": image["lidar2cam"].tolist(), "intrinsics": image["cam2img"].tolist(),
                "width": 400, "height": 240,
            }  # fmt: skip
        (root / "calibration" / f"{name}.json").write_text(json.dumps({"cameras": cameras}))
        truth = info["ann_info"]
        tensors = truth["gt_bboxes_3d"].gravity_center, truth["gt_bboxes_3d"].tensor
        rows = zip(*tensors, truth["gt_labels_3d"], strict=True)
        boxes = [
            {
                "class": dataset.metainfo["classes"][label], "centre_m": centre.tolist(), "size_m": row[3:6].tolist(),
                "yaw_rad": float(row[6]), "velocity_mps": None if row[7:].isnan().any() else row[7:].tolist(),
            }
            for centre, row, label in rows
        ]  # fmt: skip
        (root / "boxes" / f"{name}.json").write_text(json.dumps({"boxes": boxes}))
    (root / "splits.json").write_text(json.dumps({"train": list(NAMES), "val": ["second"]}))
    return root


def packed(dataset: Any) -> list[dict[str, Any]]:
    return [dataset[index] for index in range(len(dataset))]


def test_training_samples_are_those_of_the_nuscenes_road(folder: Path, small_infos: Path) -> None:
    steps = [
        LoadSweeps(0), LoadCameras(), LoadAnnotations3D(with_bbox_3d=True, with_label_3d=True),
        ImageAugment((24, 40)), PackFrame(),
    ]  # fmt: skip
    made = create_folder_infos(folder)
    assert made["samples"] == {"train": 2, "val": 1} and made["classes"] == {"car": 2, "traffic_cone": 2}
    classes = ("traffic_cone", "car")
    ours = OwnFramesDataset(made["train"], classes, pipeline=steps, min_lidar_points=0)
    theirs = NuScenesFusionDataset(
        str(small_infos), Compose(steps).transforms, metainfo={"classes": classes}, min_lidar_points=0
    )
    assert ours.metainfo["classes"] == classes
    for mine, reference in zip(packed(ours), packed(theirs), strict=True):
        for key, value in reference["inputs"].items():
            torch.testing.assert_close(mine["inputs"][key], value, msg=key)
        one, other = (sample["data_samples"].gt_instances_3d for sample in (mine, reference))
        torch.testing.assert_close(one.bboxes_3d.tensor, other.bboxes_3d.tensor, equal_nan=True)
        assert one.labels_3d.tolist() == other.labels_3d.tolist()


def test_frames_with_poses_become_sweeps_that_fall_on_the_same_world(folder: Path) -> None:
    poses = {
        name: {"time_s": time_s, "global_from_lidar": (matrix(*ego_pose(time_s)) @ matrix(*LIDAR_POSE)).tolist()}
        for name, time_s in zip(NAMES, (0.0, 0.2), strict=True)
    }
    (folder / "poses.json").write_text(json.dumps(poses))
    dataset = OwnFramesDataset(create_folder_infos(folder)["train"])
    assert [len(info["lidar_sweeps"]) for info in dataset] == [0, 1]
    points = LoadSweeps(5)(dataset[1])["points"]
    count = len(LANDMARKS)
    np.testing.assert_allclose(points[count + 1 :, :3], points[:count, :3], atol=1e-3)
    np.testing.assert_allclose(points[count + 1 :, 4], 0.2, atol=1e-6)


def test_without_splits_the_last_frames_are_held_out_and_a_frame_may_lack_a_sensor(folder: Path) -> None:
    (folder / "splits.json").unlink()
    (folder / "lidar" / "first.bin").unlink()
    made = create_folder_infos(folder, val_fraction=0.5)
    assert made["samples"] == {"train": 1, "val": 1}
    info = OwnFramesDataset(made["train"])[0]
    assert info["token"] == "first" and info["lidar_path"] is None and len(info["ann_info"]["gt_labels_3d"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda box: box.pop("class"), "box 1 has no 'class'"),
        (lambda box: box.update(centre_m=[1, 2]), "box 1: 'centre_m' is missing or not 3 finite numbers"),
        (lambda box: box.update(centre_m=[1, 2, float("nan")]), "box 1: 'centre_m'"),
        (lambda box: box.update(size_m=[1, 2, 0]), "box 1: 'size_m' has a length of zero"),
        (lambda box: box.pop("yaw_rad"), "box 1: 'yaw_rad' is missing"),
        (lambda box: box.update(velocity_mps=3), "box 1: 'velocity_mps'"),
    ],
)
def test_bad_boxes_are_named(folder: Path, change: Any, message: str) -> None:
    path = folder / "boxes" / "second.json"
    content = json.loads(path.read_text())
    change(content["boxes"][1])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"second\.json, {message}"):
        create_folder_infos(folder)


def test_bad_splits_and_poses_are_named(folder: Path) -> None:
    (folder / "splits.json").write_text('{"train": ["first", "third"], "val": ["second"]}')
    with pytest.raises(ValueError, match=r"splits\.json: 1 frames of 'train' have no boxes, the first: third"):
        create_folder_infos(folder)
    (folder / "splits.json").unlink()
    (folder / "poses.json").write_text('{"first": {"time_s": 0, "global_from_lidar": [[1, 2], [3, 4]]}}')
    with pytest.raises(ValueError, match=r"poses\.json: 'global_from_lidar' of 'first'"):
        create_folder_infos(folder)
    shutil.rmtree(folder / "boxes")
    with pytest.raises(FileNotFoundError, match="no boxes in"):
        create_folder_infos(folder)


def sample(token: str, truth: Any, found: np.ndarray, scores: list[float], labels: list[int]) -> dict[str, Any]:
    boxes = torch.tensor(found, dtype=torch.float32).reshape(-1, 9)
    instances = {"boxes": boxes, "scores_3d": torch.tensor(scores), "labels_3d": torch.tensor(labels)}
    return {"token": token, "eval_ann_info": truth, "pred_instances_3d": instances}


def test_the_metric_counts_hits_by_distance(folder: Path, tmp_path: Path) -> None:
    """The car found 0.7 m beside its place: right at 1, 2 and 4 m, wrong at 0.5 m. The cone is not found."""
    dataset = OwnFramesDataset(create_folder_infos(folder)["val"], test_mode=True)
    truth = dataset[0]["eval_ann_info"]
    car = truth["gt_labels_3d"].tolist().index(dataset.metainfo["classes"].index("car"))
    box = truth["gt_bboxes_3d"]
    found = np.concatenate((box.gravity_center[car], box.tensor[car, 3:7], [0, 0]))
    found[0] += 0.7
    metric = OwnFramesMetric(str(tmp_path / "scores"))
    metric.dataset_meta = dataset.metainfo
    metric.process(None, [sample("second", truth, found, [0.9], [int(truth["gt_labels_3d"][car])])])
    scores = metric.evaluate(1)
    assert scores["own/AP/car"] == pytest.approx(0.75) and scores["own/AP/traffic_cone"] == 0
    written = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert written["mAP"] == pytest.approx(0.375) and written["AP_per_distance"]["car"]["0.5"] == 0
    assert written["present"] == {"car": 1, "traffic_cone": 1}
