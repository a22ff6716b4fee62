"""Straightened images against OpenCV's own projection through the lens, at every decoding size."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from test_augmentation import colour_centroid

from perception.datasets.frames import frame_inputs, read_frames
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame
from perception.geometry import compose_image_from_lidar, project

K = np.array([[330.0, 0, 321.5], [0, 325.0, 236.0], [0, 0, 1]])
LENSES = {
    "brown_conrady": [-0.28, 0.07, 0.002, -0.0015, -0.006],
    "fisheye": [0.05, -0.03, 0.012, -0.004],
}
# x right, y forward, z up, m: where the red, green and blue discs are.
DISCS = np.array([[-3.2, 6.0, 1.6], [3.4, 6.5, -2.0], [0.4, 7.0, 0.3]])
CAMERA_FROM_LIDAR = np.array([[1.0, 0, 0, 0.1], [0, 0, -1, 0.2], [0, 1, 0, 0], [0, 0, 0, 1]])


def through_the_lens(model: str) -> np.ndarray:
    """Pixels [3,2] of the discs by cv2."""
    in_camera = (DISCS @ CAMERA_FROM_LIDAR[:3, :3].T + CAMERA_FROM_LIDAR[:3, 3])[:, None]
    coefficients, none = np.array(LENSES[model]), np.zeros(3)
    if model == "fisheye":
        return cv2.fisheye.projectPoints(in_camera, none, none, K, coefficients)[0].reshape(-1, 2)
    return cv2.projectPoints(in_camera, none, none, K, coefficients)[0].reshape(-1, 2)


def write_recording(folder: Path, model: str, distortion: Any) -> Path:
    image = np.full((480, 640, 3), 40, np.uint8)
    for i, pixel in enumerate(through_the_lens(model)):
        colour = [40, 40, 40]
        colour[2 - i] = 255
        cv2.circle(image, tuple(np.round(pixel * 256).astype(int)), 7 * 256, colour, -1, cv2.LINE_AA, shift=8)
    (folder / "CAM").mkdir()
    cv2.imwrite(str(folder / "CAM" / "one.png"), image)
    camera = {"camera_from_lidar": CAMERA_FROM_LIDAR.tolist(), "intrinsics": K.tolist(), "width": 640, "height": 480}
    if distortion is not None:
        camera["distortion"] = distortion
    (folder / "calibration.json").write_text(json.dumps({"cameras": {"CAM": camera}}))
    return folder


def disc_errors(folder: Path, min_hw: tuple[int, int] | None) -> np.ndarray:
    """How far, in recorded pixels, the discs of the loaded image are from where a pinhole would show them."""
    (frame,) = read_frames(folder)
    results = LoadCameras(min_hw=min_hw)(LoadSweeps(sweeps=0)(frame))
    matrix = compose_image_from_lidar(CAMERA_FROM_LIDAR, results["intrinsics"][0], results["image_aug"][0])
    image = results["camera_images"][0]
    pixels, _ = project(matrix, DISCS)
    seen = np.stack([colour_centroid(image.transpose(2, 0, 1), i) for i in range(3)])
    return np.abs(seen - pixels).max(axis=1) * (480 // len(image))


@pytest.mark.parametrize("min_hw", [None, (240, 320)])
@pytest.mark.parametrize("model", LENSES)
def test_straightened_discs_are_where_a_pinhole_shows_them(
    model: str, min_hw: tuple[int, int] | None, tmp_path: Path
) -> None:
    write_recording(tmp_path, model, {"model": model, "coefficients": LENSES[model]})
    # A disc's centroid is not quite the image of its centre: straightening stretches its outer half.
    assert disc_errors(tmp_path, min_hw).max() < 0.7


@pytest.mark.parametrize("model", LENSES)
def test_without_its_coefficients_the_lens_shows(model: str, tmp_path: Path) -> None:
    assert disc_errors(write_recording(tmp_path, model, None), None).max() > 4


def test_a_straightened_frame_goes_through_the_pipeline(tmp_path: Path) -> None:
    write_recording(tmp_path, "fisheye", {"model": "fisheye", "coefficients": LENSES["fisheye"]})
    pipeline = Compose([LoadSweeps(sweeps=0), LoadCameras(), ImageAugment(size_hw=(240, 320)), PackFrame()])
    inputs = frame_inputs(read_frames(tmp_path)[0], pipeline)["inputs"]
    assert inputs["images"].shape == (1, 3, 240, 320) and inputs["camera_mask"].all()
    pixels, _ = project(inputs["image_from_lidar"][0].numpy(), DISCS)
    np.testing.assert_allclose(colour_centroid(inputs["images"][0].numpy(), 2), pixels[2], atol=0.4)


@pytest.mark.parametrize(
    ("distortion", "message"),
    [
        ([0.1, 0.2], "'distortion' must be"),
        ({"model": "equidistant", "coefficients": [0, 0, 0, 0]}, "'brown_conrady' or 'fisheye'"),
        ({"model": "fisheye"}, "'coefficients' are missing"),
        ({"model": "fisheye", "coefficients": [0, 0, 0, 0, 0]}, "k1 k2 k3 k4, got"),
        ({"model": "brown_conrady", "coefficients": [0, None, 0, 0]}, "k1 k2 p1 p2 k3, got"),
    ],
)
def test_a_bad_distortion_names_the_camera(distortion: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"camera CAM in .*{message}"):
        read_frames(write_recording(tmp_path, "fisheye", distortion))


def test_a_lens_in_a_dataroots_table_reaches_the_info_file(damaged_root: Path, tmp_path: Path) -> None:
    path = damaged_root / "v1.0-mini" / "calibrated_sensor.json"
    rows = json.loads(path.read_text())
    lens = {"model": "brown_conrady", "coefficients": LENSES["brown_conrady"]}
    next(row for row in rows if row["token"] == "calibrated_CAM_FRONT")["distortion"] = lens
    path.write_text(json.dumps(rows))
    infos = create_info_files(damaged_root, "v1.0-mini", tmp_path, progress=False)["train"]
    dataset = NuScenesFusionDataset(str(infos), test_mode=True)
    images = dataset[0]["images"]
    assert images["CAM_FRONT"]["distortion"] == lens and "distortion" not in images["CAM_BACK"]
    straight = LoadCameras()(dataset[0])["camera_images"]  # back, front
    bent = LoadCameras()({**dataset[0], "images": without_lens(images)})["camera_images"]
    assert np.array_equal(straight[0], bent[0]) and not np.array_equal(straight[1], bent[1])


def without_lens(images: dict[str, Any]) -> dict[str, Any]:
    return {name: {k: v for k, v in image.items() if k != "distortion"} for name, image in images.items()}


def test_cameras_of_one_rig_may_differ_in_size(tmp_path: Path) -> None:
    """The same picture at half the size, and the same camera: the same pixels reach the network."""
    write_recording(tmp_path, "brown_conrady", {"model": "brown_conrady", "coefficients": LENSES["brown_conrady"]})
    content = json.loads((tmp_path / "calibration.json").read_text())
    half = np.diag([0.5, 0.5, 1.0])
    half[:2, 2] = -0.25
    camera = content["cameras"]["CAM"]
    content["cameras"]["SMALL"] = {**camera, "intrinsics": (half @ K).tolist(), "width": 320, "height": 240}
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    (tmp_path / "SMALL").mkdir()
    image = cv2.imread(str(tmp_path / "CAM" / "one.png"))
    cv2.imwrite(str(tmp_path / "SMALL" / "one.png"), cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA))
    pipeline = Compose([LoadSweeps(sweeps=0), LoadCameras(), ImageAugment(size_hw=(150, 200)), PackFrame()])
    inputs = frame_inputs(read_frames(tmp_path)[0], pipeline)["inputs"]
    matrices, images = inputs["image_from_lidar"].numpy(), inputs["images"].numpy()
    np.testing.assert_allclose(matrices[0], matrices[1], atol=1e-3)
    for i in range(3):
        for camera_index in range(2):
            pixels, _ = project(matrices[camera_index], DISCS)
            np.testing.assert_allclose(colour_centroid(images[camera_index], i), pixels[i], atol=0.4)
