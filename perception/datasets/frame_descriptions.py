"""frames/STEM.json of a folder of frames: times, older sweeps and poses of one frame, where they are known.

    {"timestamp_s": 1532402927.6,                      of the key sweep
     "global_from_lidar": 4x4,                         at that time
     "sweeps": [{"file": "sweeps/NAME.bin",            older sweeps, newest first; paths relative to the folder
                 "timestamp_s": ..., "lidar_from_sweep": 4x4}],
     "cameras": {NAME: {"timestamp_s": ...,            and whatever differs from calibration.json, such as a
                        "camera_from_lidar": 4x4}}}    camera_from_lidar that has the vehicle's motion in it

Every member may be absent. A program that watches the folder takes the file as the announcement of its frame.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from perception.datasets.info_files import POINT_FEATURES
from perception.geometry import invert

_OWN = {"camera_from_lidar": "lidar2cam", "intrinsics": "cam2img", "width": "width", "height": "height"}


def write_folder(folder: Path, frames: Iterable[dict[str, Any]], cameras: list[str]) -> None:
    """Write frames, as `read_frames` gives them, into a new folder: links to their files, and a description of each.

    Args:
        cameras: those that the folder's calibration.json names; images of others are left out.
    """
    frames = [{**f, "images": {n: image for n, image in f["images"].items() if n in cameras}} for f in frames]
    every = {name: image for frame in reversed(frames) for name, image in frame["images"].items()}
    placeholder = next(iter(every.values()), None)
    (folder / "frames").mkdir(parents=True)
    (folder / "lidar").mkdir(exist_ok=True)
    calibration = {}
    for name in cameras:
        (folder / name).mkdir()
        # A camera that no frame has still needs a calibration, which then is not used.
        image = every.get(name, placeholder)
        calibration[name] = {
            "camera_from_lidar": np.asarray(image["lidar2cam"]).tolist() if image else np.eye(4).tolist(),
            "intrinsics": np.asarray(image["cam2img"])[:3, :3].tolist() if image else np.eye(3).tolist(),
            "width": image["width"] if image else 1,
            "height": image["height"] if image else 1,
        }
    content = {"cameras": calibration, "point_features": POINT_FEATURES}
    (folder / "calibration.json").write_text(json.dumps(content), encoding="utf-8")
    for frame in frames:
        stem = frame["token"]
        description = json.dumps(describe(frame))
        (folder / "frames" / f"{stem}.json").write_text(description, encoding="utf-8")
        if (cloud := frame["lidar_points"]["lidar_path"]) is not None:
            _link(folder / "lidar" / f"{stem}.bin", cloud)
        for name, image in frame["images"].items():
            _link(folder / name / f"{stem}{Path(image['img_path']).suffix}", image["img_path"])


def describe(frame: dict[str, Any]) -> dict[str, Any]:
    """The description of an info entry whose paths are absolute, as `read_frames` gives it; ready for JSON."""
    description: dict[str, Any] = {
        "timestamp_s": float(frame["timestamp"]),
        "sweeps": [
            {
                "file": str(Path(sweep["lidar_points"]["lidar_path"]).resolve()),
                "timestamp_s": float(sweep["timestamp"]),
                "lidar_from_sweep": invert(np.asarray(sweep["lidar_points"]["lidar2sensor"])).tolist(),
            }
            for sweep in frame.get("lidar_sweeps", [])
        ],
        "cameras": {
            name: {
                **{ours: np.asarray(image[theirs]).tolist() for ours, theirs in _OWN.items()},
                **({"timestamp_s": float(image["timestamp"])} if "timestamp" in image else {}),
            }
            for name, image in frame["images"].items()
        },
    }
    if "ego2global" in frame:
        lidar2ego = np.asarray(frame["lidar_points"]["lidar2ego"])
        description["global_from_lidar"] = (np.asarray(frame["ego2global"]) @ lidar2ego).tolist()
    return description


def apply_description(frame: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An info entry with what folder/frames/STEM.json says of it, STEM being its token; unchanged without that file.

    Raises ValueError naming the file when it is not valid JSON or a member is not what it should be.
    """
    path = folder / "frames" / f"{frame['token']}.json"
    if not path.is_file():
        return frame
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        frame = {**frame, "timestamp": float(content.get("timestamp_s", 0.0))}
        if "global_from_lidar" in content:
            frame["ego2global"] = _matrix(content["global_from_lidar"])
        frame["lidar_sweeps"] = [
            {
                "timestamp": float(sweep["timestamp_s"]),
                "lidar_points": {
                    "lidar_path": str(folder / sweep["file"]),
                    "lidar2sensor": invert(_matrix(sweep["lidar_from_sweep"])),
                },
            }
            for sweep in content.get("sweeps", [])
        ]
        for name, camera in content.get("cameras", {}).items():
            if name in frame["images"]:
                frame["images"][name] = _updated(frame["images"][name], camera)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a frame's description: {error}") from error
    return frame


def _updated(image: dict[str, Any], camera: dict[str, Any]) -> dict[str, Any]:
    changed = {theirs: camera[ours] for ours, theirs in _OWN.items() if ours in camera}
    if "camera_from_lidar" in camera:
        changed["lidar2cam"] = _matrix(camera["camera_from_lidar"])
    if "timestamp_s" in camera:
        changed["timestamp"] = float(camera["timestamp_s"])
    return {**image, **changed}


def _matrix(rows: Any) -> np.ndarray:
    matrix = np.array(rows, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"a pose must be 4x4 finite numbers, got shape {matrix.shape}")
    if not np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-3):
        raise ValueError("a pose is not a rotation and a translation")
    return matrix


def _link(path: Path, target: str | Path) -> None:
    path.symlink_to(Path(target).resolve())
