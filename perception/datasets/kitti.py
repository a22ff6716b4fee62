"""KITTI's 3D object benchmark (Geiger et al., CVPR 2012) as a folder of frames, the worked example of one's own data.

KITTI's scanner looks along x and its boxes are given in the rectified camera frame, by the centre of their bottom. Here
the frame is nuScenes': x right, y forward, z up. So clouds are turned by a quarter about z, and reflectance 0..1
becomes intensity 0..255. A point's way to the left colour image is KITTI's own, P2 R0_rect Tr_velo_to_cam.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from perception.datasets.sensor_files import read_points
from perception.evaluation.json_file import write_json
from perception.geometry import invert
from perception.whole_file import whole_file

CAMERA = "image_2"  # the left colour camera, whose frame the labels' boxes are drawn in
_FEATURES = 4
_INTENSITY = 255.0
# x' = -y, y' = x: our LiDAR frame from KITTI's.
LIDAR_FROM_VELODYNE = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
_IGNORED = ("DontCare",)
_LABEL_FIELDS = 15


def convert_kitti(root: str | Path, out: str | Path, workers: int = 4, progress: bool = True) -> dict[str, Any]:
    """Write KITTI's training part as a folder of frames (perception/datasets/frames.py, own_frames.py).

    Frames that are there are not written again, so that an interrupted conversion goes on. Images are linked, not
    copied.

    Args:
        root: holds training/{velodyne,image_2,calib,label_2}, and ImageSets/{train,val}.txt where a split is given.
        out: the folder to write.

    Returns {"frames": count, "out": folder}. Raises FileNotFoundError or ValueError naming what is missing or wrong.
    """
    root, out = Path(root), Path(out)
    stems = sorted(path.stem for path in (root / "training" / "label_2").glob("*.txt"))
    if not stems:
        raise FileNotFoundError(f"no labels in {root / 'training' / 'label_2'}: is {root} KITTI's object data set?")
    for part in ("lidar", CAMERA, "calibration", "boxes"):
        (out / part).mkdir(parents=True, exist_ok=True)
    write_json(out / "calibration.json", {"cameras": {}, "point_features": _FEATURES})
    splits = {split: lines for split in ("train", "val") if (lines := list(_split(root, split, stems)))}
    if len(splits) == 2:
        write_json(out / "splits.json", splits)
    with ThreadPoolExecutor(workers) as pool:
        frames = pool.map(lambda stem: _convert_frame(root / "training", out, stem), stems)
        for _ in tqdm(frames, "frames", len(stems), unit="frame", disable=not progress):
            pass
    return {"frames": len(stems), "out": str(out)}


def read_calibration(path: str | Path) -> dict[str, np.ndarray]:
    """KITTI's matrices of a frame: P0..P3 [3,4], R0_rect [3,3], Tr_velo_to_cam [3,4].

    Raises FileNotFoundError; ValueError naming the file and the matrix that is missing or damaged.
    """
    shapes = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
    found: dict[str, np.ndarray] = {}
    for line in _lines(path):
        name, _, numbers = line.partition(":")
        if name in shapes:
            try:
                found[name] = np.array(numbers.split(), dtype=np.float64).reshape(shapes[name])
            except ValueError as error:
                raise ValueError(f"{path}: {name} is not {shapes[name]} numbers") from error
    for name in shapes:
        if name not in found or not np.isfinite(found[name]).all():
            raise ValueError(f"{path} has no {name} of finite numbers")
    return found


def camera_from_velodyne(calibration: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """camera_from_velodyne [4,4] of the left colour camera and its intrinsics [3,3].

    P2 = K [I | t], where t is how far the camera stands from the reference camera, whose frame R0_rect leads to.
    """
    intrinsics = calibration["P2"][:, :3]
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(intrinsics, calibration["P2"][:, 3])
    return shift @ _rectified_from_velodyne(calibration), intrinsics


def _rectified_from_velodyne(calibration: dict[str, np.ndarray]) -> np.ndarray:
    rectify, reference_from_velodyne = np.eye(4), np.eye(4)
    rectify[:3, :3], reference_from_velodyne[:3] = calibration["R0_rect"], calibration["Tr_velo_to_cam"]
    return rectify @ reference_from_velodyne


def read_boxes(path: str | Path, calibration: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The boxes of a label file as own_frames.py has them, in our LiDAR frame; DontCare regions are left out.

    Raises FileNotFoundError; ValueError naming the file and the line that is damaged.
    """
    lidar_from_rectified = LIDAR_FROM_VELODYNE @ invert(_rectified_from_velodyne(calibration))
    boxes = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if not fields or fields[0] in _IGNORED:
            continue
        try:
            height, width, length, x, y, z, turn = (float(v) for v in fields[8:_LABEL_FIELDS])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a label of {_LABEL_FIELDS} fields") from error
        if not np.isfinite([height, width, length, x, y, z, turn]).all() or min(height, width, length) <= 0:
            raise ValueError(f"{path}, line {number}: a number is not finite or a length not positive")
        centre = lidar_from_rectified @ np.array([x, y - height / 2, z, 1])  # the camera's y points down
        heading = lidar_from_rectified[:3, :3] @ np.array([np.cos(turn), 0, -np.sin(turn)])
        boxes.append(
            {
                "class": fields[0],
                "centre_m": centre[:3].tolist(),
                "size_m": [length, width, height],
                "yaw_rad": float(np.arctan2(heading[1], heading[0])),
                "velocity_mps": None,
            }
        )
    return boxes


def _convert_frame(training: Path, out: Path, stem: str) -> None:
    boxes_path = out / "boxes" / f"{stem}.json"
    if boxes_path.is_file():  # written last
        return
    calibration = read_calibration(training / "calib" / f"{stem}.txt")
    boxes = read_boxes(training / "label_2" / f"{stem}.txt", calibration)
    image_path = next((p for s in ("png", "jpg") if (p := training / CAMERA / f"{stem}.{s}").is_file()), None)
    if image_path is None:
        raise FileNotFoundError(f"no image {training / CAMERA / stem}.png")
    points = read_points(training / "velodyne" / f"{stem}.bin", _FEATURES).copy()
    points[:, :3] = points[:, :3] @ LIDAR_FROM_VELODYNE[:3, :3].T.astype(np.float32)
    points[:, 3] *= _INTENSITY
    with whole_file(out / "lidar" / f"{stem}.bin", "wb") as file:
        file.write(points.astype(np.float32).tobytes())
    link = out / CAMERA / image_path.name
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(image_path, link.parent))
    with Image.open(image_path) as image:
        width, height = image.size
    camera_from_lidar, intrinsics = camera_from_velodyne(calibration)
    camera = {
        "camera_from_lidar": (camera_from_lidar @ invert(LIDAR_FROM_VELODYNE)).tolist(),
        "intrinsics": intrinsics.tolist(),
        "width": width,
        "height": height,
    }
    write_json(out / "calibration" / f"{stem}.json", {"cameras": {CAMERA: camera}, "point_features": _FEATURES})
    write_json(boxes_path, {"frame": stem, "boxes": boxes})


def _split(root: Path, split: str, stems: list[str]) -> Iterator[str]:
    path = root / "ImageSets" / f"{split}.txt"
    if path.is_file():
        yield from (stem for stem in map(str.strip, _lines(path)) if stem in set(stems))


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text: {error}") from error
