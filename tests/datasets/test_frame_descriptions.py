"""A folder with descriptions gives what the dataroot gives: sweeps, times and motion between the sensors included."""

import json

import numpy as np
import pytest
from mmengine.dataset import Compose
from test_frames import PIPELINE, assert_same

from perception.datasets.frame_descriptions import write_folder
from perception.datasets.frames import frame_inputs, read_frames
from perception.datasets.transforms import LoadCameras

CAMERAS = ["CAM_BACK", "CAM_FRONT"]


@pytest.fixture
def folder(small_root, tmp_path):
    write_folder(tmp_path / "frames", read_frames(small_root), CAMERAS)
    return tmp_path / "frames"


def test_a_described_folder_gives_what_the_dataroot_gives(small_root, folder):
    originals = {frame["token"]: frame for frame in read_frames(small_root)}
    assert any(frame["lidar_sweeps"] for frame in originals.values())
    described = read_frames(folder)
    assert {frame["token"] for frame in described} == originals.keys()
    for frame in described:
        ours, theirs = (frame_inputs(f, PIPELINE) for f in (frame, originals[frame["token"]]))
        assert_same(ours["inputs"], theirs["inputs"])
        np.testing.assert_allclose(ours["data_samples"].lidar2global, theirs["data_samples"].lidar2global, atol=1e-9)


def test_the_age_of_images_is_known(small_root, folder):
    load = Compose([LoadCameras(CAMERAS)])
    originals = {frame["token"]: frame for frame in read_frames(small_root)}
    for frame in read_frames(folder):
        ages = [frame_inputs(f, load)["camera_age_s"] for f in (frame, originals[frame["token"]])]
        np.testing.assert_allclose(*ages)


@pytest.mark.parametrize(
    "content",
    [
        {"timestamp_s": "noon"},
        {"sweeps": [{"file": "a.bin"}]},
        {"cameras": {"CAM_FRONT": {"camera_from_lidar": [[1, 2], [3, 4]]}}},
        {"global_from_lidar": (2 * np.eye(4)).tolist()},
        [],
    ],
)
def test_a_wrong_description_is_named(folder, content):
    path = sorted((folder / "frames").iterdir())[0]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{path.name} is not a frame's description"):
        read_frames(folder)
