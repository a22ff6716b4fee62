"""The rig is the real car's."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyquaternion import Quaternion

from perception.datasets.synthetic.rig import global_from_pose, make_rig, rotation_matrix


def test_calibration_is_that_of_the_real_key_frame(one_frame_root: Path) -> None:
    tables = {
        n: json.loads((one_frame_root / "v1.0-mini" / f"{n}.json").read_text()) for n in ("sensor", "calibrated_sensor")
    }
    channels = {row["token"]: row["channel"] for row in tables["sensor"]}
    rig = make_rig()
    ours = {"LIDAR_TOP": (rig.ego_from_lidar, None)}
    ours |= {c.channel: (c.ego_from_camera, c.intrinsic) for c in rig.cameras}
    assert len(tables["calibrated_sensor"]) == len(ours) == 7
    for row in tables["calibrated_sensor"]:
        pose, intrinsic = ours[channels[row["sensor_token"]]]
        np.testing.assert_allclose(pose[:3, 3], row["translation"], atol=1e-5)
        np.testing.assert_allclose(pose[:3, :3], Quaternion(row["rotation"]).rotation_matrix, atol=1e-5)
        if intrinsic is not None:
            np.testing.assert_allclose(intrinsic, row["camera_intrinsic"], atol=1e-3)


def test_intrinsics_shrink_with_the_picture() -> None:
    full, half = make_rig().cameras[0].intrinsic, make_rig((800, 450)).cameras[0].intrinsic
    # The centre of a 2x2 block of full pixels (2u, 2u + 1) is pixel u of the half picture.
    ray = np.array([0.1, -0.05, 1.0])
    np.testing.assert_allclose((half @ ray)[:2], ((full @ ray)[:2] - 0.5) / 2, atol=1e-9)


def test_rotations_agree_with_pyquaternion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        q = rng.normal(size=4)
        np.testing.assert_allclose(rotation_matrix(q), Quaternion(q).normalised.rotation_matrix, atol=1e-12)
    pose = global_from_pose(np.array([1.0, 2.0, 3.0, 0.7]))
    np.testing.assert_allclose(pose[:3, :3], Quaternion(axis=(0, 0, 1), radians=0.7).rotation_matrix, atol=1e-12)
    assert pose[:3, 3].tolist() == [1.0, 2.0, 3.0]


def test_other_aspects_are_refused() -> None:
    with pytest.raises(ValueError, match="16:9"):
        make_rig((800, 600))
