"""The dataset: boxes, labels and paths of info files from here or from mmdet3d."""

import json
import pickle

import numpy as np
import pytest
import torch

from perception.datasets.info_files import read_info_file
from perception.datasets.nuscenes import NuScenesFusionDataset


def written(path, metainfo, samples):
    content = {"metainfo": metainfo, "data_list": samples}
    path.write_bytes(json.dumps(content).encode() if path.suffix == ".json" else pickle.dumps(content))
    return str(path)


def test_boxes_have_gravity_centres_and_unknown_velocities_stay_nan(small_infos):
    _, samples = read_info_file(small_infos)
    expected = np.array([row["bbox_3d"] for row in samples[0]["instances"][:2]])
    boxes = NuScenesFusionDataset(str(small_infos), test_mode=True)[0]["eval_ann_info"]["gt_bboxes_3d"]
    np.testing.assert_allclose(boxes.gravity_center, expected[:, :3], atol=1e-5)
    np.testing.assert_allclose(boxes.tensor[:, 2], expected[:, 2] - expected[:, 5] / 2, atol=1e-5)
    assert torch.isfinite(boxes.tensor[0]).all()
    assert torch.isnan(boxes.tensor[1, 7:]).all() and torch.isfinite(boxes.tensor[1, :7]).all()


def test_classes_choose_and_order_labels(small_infos):
    chosen = NuScenesFusionDataset(str(small_infos), metainfo={"classes": ("traffic_cone", "car")}, min_lidar_points=0)
    assert chosen[0]["ann_info"]["gt_labels_3d"].tolist() == [1, 0]
    assert chosen.metainfo["classes"] == ("traffic_cone", "car")
    cars = NuScenesFusionDataset(str(small_infos), metainfo={"classes": ("car",)})
    assert cars[0]["ann_info"]["gt_labels_3d"].tolist() == [0]


def test_boxes_without_points_are_dropped_in_training_only(small_infos):
    def labels(**options):
        info = NuScenesFusionDataset(str(small_infos), **options)[0]
        return (info["eval_ann_info"] if options.get("test_mode") else info["ann_info"])["gt_labels_3d"].tolist()

    assert labels() == [0]
    assert labels(use_valid_flag=True) == [0]
    assert labels(min_lidar_points=0) == [0, 8]
    assert labels(min_lidar_points=6) == []
    assert labels(test_mode=True) == [0, 8]


def test_an_mmdet3d_pickle_gives_the_same_samples(small_infos, small_root, tmp_path):
    """As mmdet3d 1.4 writes it: bare names of key frames, sweeps with its own prefix, numpy scalars, NaN velocities."""
    metainfo, samples = read_info_file(small_infos)
    for sample in samples:
        sample["lidar_points"]["lidar_path"] = sample["lidar_points"]["lidar_path"].split("/")[-1]
        for image in sample["images"].values():
            image["img_path"] = image["img_path"].split("/")[-1]
            del image["height"], image["width"]
        for sweep in sample["lidar_sweeps"]:
            sweep["lidar_points"]["lidar_path"] = "./data/nuscenes/" + sweep["lidar_points"]["lidar_path"]
        for row in sample["instances"]:
            row["velocity"] = [np.nan if v is None else v for v in row["velocity"]]
            row["num_lidar_pts"] = np.int64(row["num_lidar_pts"])
            row["bbox_3d_isvalid"] = np.bool_(row["bbox_3d_isvalid"])
            del row["attr_label"], row["visibility"]
        sample["cam_instances"] = {"CAM_FRONT": []}
    del metainfo["dataroot"], metainfo["split"]
    path = written(tmp_path / "nuscenes_infos_train.pkl", metainfo, samples)
    ours, theirs = NuScenesFusionDataset(str(small_infos)), NuScenesFusionDataset(path, data_root=str(small_root))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["lidar_path"] == other["lidar_path"]
        torch.testing.assert_close(
            mine["ann_info"]["gt_bboxes_3d"].tensor, other["ann_info"]["gt_bboxes_3d"].tensor, equal_nan=True
        )
        for channel, image in mine["images"].items():
            assert image["img_path"] == other["images"][channel]["img_path"]
        for sweep, reference in zip(mine["lidar_sweeps"], other["lidar_sweeps"], strict=True):
            assert sweep["lidar_points"]["lidar_path"] == reference["lidar_points"]["lidar_path"]
            np.testing.assert_allclose(
                sweep["lidar_points"]["lidar2sensor"], reference["lidar_points"]["lidar2sensor"], atol=1e-9
            )


def test_samples_without_annotations_work_and_can_be_skipped(small_infos, small_root, tmp_path):
    metainfo, samples = read_info_file(small_infos)
    samples[0]["instances"] = []
    del samples[1]["instances"]
    path = written(tmp_path / "infos.json", metainfo, samples)
    for info in NuScenesFusionDataset(path, data_root=str(small_root)):
        assert info["ann_info"]["gt_bboxes_3d"].tensor.shape == (0, 9)
        assert info["ann_info"]["gt_labels_3d"].shape == (0,)
    assert (
        len(NuScenesFusionDataset(path, data_root=str(small_root), test_mode=True)[1]["eval_ann_info"]["gt_labels_3d"])
        == 0
    )


def test_bad_info_files_are_named(small_infos, tmp_path):
    metainfo, samples = read_info_file(small_infos)
    lost = written(tmp_path / "lost.json", {**metainfo, "dataroot": "gone"}, samples)
    with pytest.raises(FileNotFoundError, match=r"no dataroot at .*gone \(from .*lost\.json\)"):
        NuScenesFusionDataset(lost)
    with pytest.raises(ValueError, match=r"empty\.json lists no samples"):
        NuScenesFusionDataset(written(tmp_path / "empty.json", {**metainfo, "dataroot": "."}, []))
    del samples[1]["lidar_points"]["lidar2ego"]
    with pytest.raises(ValueError, match=r"cut\.json: sample 'sample_1' lacks 'lidar2ego'"):
        NuScenesFusionDataset(written(tmp_path / "cut.json", {**metainfo, "dataroot": "."}, samples))
    with pytest.raises(FileNotFoundError, match="create_data"):
        NuScenesFusionDataset(str(tmp_path / "none.json"))
