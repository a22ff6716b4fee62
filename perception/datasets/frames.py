"""Frames to run a detector on, with no annotations: from a nuScenes dataroot, or from anyone's clouds and images.

The folder convention, for one frame or a thousand:

    folder/calibration.json   {"cameras": {NAME: {"camera_from_lidar": 4x4, "intrinsics": 3x3, "width", "height" (px),
                                                  "distortion": {"model", "coefficients"}}},
                               "point_features": 5}
    folder/lidar/STEM.bin     float32 rows x y z intensity ... of `point_features` numbers (5 unless it says otherwise);
                              .pcd.bin is the same
    folder/calibration/STEM.json   the same for one frame, where it differs from frame to frame
    folder/NAME/STEM.jpg      the image of camera NAME at that time (.jpeg and .png too)
    folder/frames/STEM.json   times, older sweeps and poses of that frame, where they are known
                              (perception/datasets/frame_descriptions.py)

The LiDAR frame is nuScenes': x right, y forward, z up, about 1.8 m above the ground; intensity is 0..255. A frame may
lack its cloud or any of its images: the detector goes on without that sensor. Cameras may be any number, of any sizes.
A camera with `distortion` (OpenCV's "brown_conrady" k1 k2 p1 p2 k3 or "fisheye" k1 k2 k3 k4) is straightened when its
images are loaded; without it they are taken as a pinhole's. To train on such a folder, see
perception/datasets/own_frames.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perception.datasets.distortion import read_distortion
from perception.datasets.file_size import GIB, refuse_huge
from perception.datasets.frame_descriptions import apply_description
from perception.datasets.info_files import POINT_FEATURES, resolve_entry

_CLOUD_SUFFIXES = (".pcd.bin", ".bin")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_frames(path: str | Path, version: str | None = None) -> list[dict[str, Any]]:
    """The frames at a path, each an info entry that a testing pipeline takes, in order of time or name.

    Args:
        path: a nuScenes dataroot; a folder by the convention above; or one cloud in such a folder: that frame alone.
        version: of a dataroot that has several.

    Raises FileNotFoundError or ValueError naming what is missing or wrong.
    """
    path = Path(path)
    if path.is_file():
        folder = path.parent.parent
        stem = _stem(path, _CLOUD_SUFFIXES)
        frames = [frame for frame in _folder_frames(folder) if frame["token"] == stem]
        if not frames:
            raise ValueError(f"{path} is no frame of {folder}: a cloud lies in {folder / 'lidar'} and ends in .bin")
        return frames
    if not path.is_dir():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if (path / "calibration.json").is_file():
        return _folder_frames(path)
    versions = sorted(table.parent.name for table in path.glob("*/sample.json"))
    if not versions:
        raise FileNotFoundError(f"{path} has neither calibration.json nor the tables of a nuScenes dataroot")
    if version is None and len(versions) > 1:
        raise ValueError(f"{path} has the versions {', '.join(versions)}: say which")
    return _dataroot_frames(path, version or versions[0])


def frame_inputs(frame: dict[str, Any], pipeline: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """{"inputs", "data_samples"} of a frame from `read_frames`, by a testing pipeline (mmengine's Compose).

    The frame itself is left as it was.
    """
    return pipeline({**frame, "images": {name: dict(image) for name, image in frame["images"].items()}})


def _dataroot_frames(root: Path, version: str) -> list[dict[str, Any]]:
    from perception.datasets.nuscenes_entries import sample_entry
    from perception.datasets.nuscenes_reader import NuScenesReader

    nusc = NuScenesReader(root, version)
    samples = sorted(nusc.sample, key=lambda sample: sample["timestamp"])
    frames = [sample_entry(nusc, sample["token"], index, sweeps=10) for index, sample in enumerate(samples)]
    for frame in frames:
        frame.pop("instances")
        resolve_entry(frame, root)
        frame["lidar_path"] = frame["lidar_points"]["lidar_path"]
    return frames


def _folder_frames(folder: Path) -> list[dict[str, Any]]:
    common = _read_calibration(folder / "calibration.json")
    clouds = _files_by_stem(folder / "lidar", _CLOUD_SUFFIXES)
    own = {
        stem: _read_calibration(Path(path)) for stem, path in _files_by_stem(folder / "calibration", (".json",)).items()
    }
    names = list(dict.fromkeys(name for calibration in (common, *own.values()) for name in calibration["cameras"]))
    images = {name: _files_by_stem(folder / name, _IMAGE_SUFFIXES) for name in names}
    stems = sorted(set(clouds).union(*images.values()))
    if not stems:
        cameras = ", ".join(names) or "none"
        raise FileNotFoundError(f"no frames in {folder}: looked for lidar/*.bin and images of the cameras {cameras}")
    frames = (_folder_frame(index, stem, own.get(stem, common), clouds, images) for index, stem in enumerate(stems))
    return [apply_description(frame, folder) for frame in frames]


def _folder_frame(
    index: int, stem: str, calibration: dict[str, Any], clouds: dict[str, str], images: dict[str, dict[str, str]]
) -> dict[str, Any]:
    return {
        "sample_idx": index,
        "token": stem,
        "timestamp": 0.0,
        "lidar_path": clouds.get(stem),
        "lidar_points": {"lidar_path": clouds.get(stem), "num_pts_feats": calibration["point_features"]},
        "images": {
            name: {"img_path": images[name][stem], **camera}
            for name, camera in calibration["cameras"].items()
            if stem in images[name]
        },
    }


def _read_calibration(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; see perception/datasets/frames.py for what it holds")
    refuse_huge(path, GIB // 16)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("cameras"), dict):
        raise ValueError(f"{path} has no 'cameras' (an object of name: calibration; it may be empty)")
    cameras = {name: _camera(camera, f"camera {name} in {path}") for name, camera in content["cameras"].items()}
    return {"cameras": cameras, "point_features": int(content.get("point_features", POINT_FEATURES))}


def _camera(content: dict[str, Any], where: str) -> dict[str, Any]:
    """A camera's calibration under the names that info files use."""
    camera = {
        "lidar2cam": _matrix(content, "camera_from_lidar", 4, where),
        "cam2img": _matrix(content, "intrinsics", 3, where),
        "width": content.get("width"),
        "height": content.get("height"),
    }
    if read_distortion(content, where) is not None:
        camera["distortion"] = content["distortion"]
    return camera


def _matrix(camera: dict[str, Any], key: str, size: int, where: str) -> np.ndarray:
    try:
        matrix = np.array(camera[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {key!r} is missing or not a matrix of numbers") from error
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{where}: {key!r} must be {size}x{size} finite numbers, got shape {matrix.shape}")
    if key == "camera_from_lidar" and not np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-3):
        raise ValueError(f"{where}: {key!r} is not a rotation and a translation")
    return matrix


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        _stem(path, suffixes): str(path) for path in sorted(folder.iterdir()) if path.name.lower().endswith(suffixes)
    }


def _stem(path: Path, suffixes: tuple[str, ...]) -> str:
    lowered = path.name.lower()
    return next((path.name[: -len(suffix)] for suffix in suffixes if lowered.endswith(suffix)), path.name)
