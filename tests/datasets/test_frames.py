"""Frames without annotations: from a dataroot and from the folder convention, through the same pipeline."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose

from perception.datasets.frames import frame_inputs, read_frames
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame

PIPELINE = Compose(
    [LoadSweeps(sweeps=4), LoadCameras(("CAM_FRONT", "CAM_BACK")), ImageAugment(size_hw=(24, 40)), PackFrame()]
)


def assert_same(ours, reference):
    assert ours.keys() == reference.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], reference[key], msg=key)


@pytest.fixture
def folder(small_infos, tmp_path):
    """The small data set's frames as anyone's recording."""
    cameras = {}
    for name, info in zip(("first", "second"), NuScenesFusionDataset(str(small_infos), test_mode=True), strict=True):
        (tmp_path / "lidar").mkdir(exist_ok=True)
        shutil.copy(info["lidar_path"], tmp_path / "lidar" / f"{name}.pcd.bin")
        for channel, image in info["images"].items():
            (tmp_path / channel).mkdir(exist_ok=True)
            shutil.copy(image["img_path"], tmp_path / channel / f"{name}.jpg")
            if name == "first":
                cameras[channel] = {
                    "camera_from_lidar": image["lidar2cam"].tolist(),
                    "intrinsics": image["cam2img"].tolist(),
                    "width": 400,
                    "height": 240,
                }
    (tmp_path / "calibration.json").write_text(json.dumps({"cameras": cameras}))
    return tmp_path


def test_a_dataroot_gives_what_the_dataset_gives(small_root, small_infos):
    frames = read_frames(small_root)
    dataset = NuScenesFusionDataset(str(small_infos), pipeline=PIPELINE.transforms, test_mode=True)
    for frame, reference in zip(frames, dataset, strict=True):
        packed = frame_inputs(frame, PIPELINE)
        assert_same(packed["inputs"], reference["inputs"])
        np.testing.assert_array_equal(packed["data_samples"].lidar2global, reference["data_samples"].lidar2global)
        assert "eval_ann_info" not in packed["data_samples"] and "gt_instances_3d" not in packed["data_samples"]


def test_a_folder_gives_the_same_inputs(folder, small_infos):
    frames = read_frames(folder)
    assert [frame["token"] for frame in frames] == ["first", "second"]
    dataset = NuScenesFusionDataset(str(small_infos), pipeline=PIPELINE.transforms, test_mode=True)
    assert_same(frame_inputs(frames[0], PIPELINE)["inputs"], dataset[0]["inputs"])


def test_one_frame_of_a_folder_and_frames_that_lack_a_sensor(folder):
    (folder / "CAM_BACK" / "first.jpg").unlink()
    (folder / "lidar" / "second.pcd.bin").unlink()
    (first,) = read_frames(folder / "lidar" / "first.pcd.bin")
    assert frame_inputs(first, PIPELINE)["inputs"]["camera_mask"].tolist() == [True, False]
    inputs = frame_inputs(read_frames(folder)[1], PIPELINE)["inputs"]
    assert not inputs["lidar_mask"] and inputs["points"].shape == (0, 5) and inputs["camera_mask"].all()
    with pytest.raises(ValueError, match="is no frame of"):
        read_frames(folder / "CAM_FRONT" / "first.jpg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("cameras"), "has no 'cameras'"),
        (lambda c: c["cameras"]["CAM_BACK"].pop("intrinsics"), "CAM_BACK.*'intrinsics' is missing"),
        (lambda c: c["cameras"]["CAM_BACK"].update(intrinsics=[[1, 2], [3, 4]]), "must be 3x3 finite numbers"),
        (lambda c: c["cameras"]["CAM_BACK"].update(camera_from_lidar=(2 * np.eye(4)).tolist()), "not a rotation"),
    ],
)
def test_bad_calibration_names_the_camera_and_the_field(folder, change, message):
    path = folder / "calibration.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_frames(folder)


def test_paths_that_are_nothing_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        read_frames(tmp_path / "gone")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="neither calibration"):
        read_frames(tmp_path / "bare")
    (tmp_path / "bare" / "calibration.json").write_text('{"cameras": {}}')
    with pytest.raises(FileNotFoundError, match="no frames in"):
        read_frames(tmp_path / "bare")
    (folder / "calibration.json").write_text("{")
    with pytest.raises(ValueError, match=r"calibration\.json is not valid JSON"):
        read_frames(folder)
