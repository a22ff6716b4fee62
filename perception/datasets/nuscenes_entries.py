"""The info entry of one nuScenes key frame, in mmdet3d's v1.1 layout."""

import math
from typing import Any

import numpy as np
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name

from perception.datasets.distortion import read_distortion
from perception.datasets.info_files import POINT_FEATURES
from perception.datasets.nuscenes_reader import NuScenesReader
from perception.geometry import box_from_global, invert, rigid

# mmdet3d's order of the classes: labels in the info files are places in it.
CLASSES = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone",
    "barrier",
)  # fmt: skip
NO_ATTRIBUTE = -1
_VISIBILITIES = ("1", "2", "3", "4")


def sample_entry(nusc: NuScenesReader, token: str, index: int, sweeps: int) -> dict[str, Any]:
    """The info entry of one key frame: poses, calibration, paths, previous sweeps and, where there are any, boxes.

    Raises ValueError where the key frame has no LiDAR.
    """
    sample = nusc.get("sample", token)
    if "LIDAR_TOP" not in sample["data"]:
        raise ValueError(f"sample {token} has no LIDAR_TOP key frame")
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    global_from_ego, ego_from_lidar = _poses(nusc, lidar)
    lidar_from_global = invert(global_from_ego @ ego_from_lidar)
    entry: dict[str, Any] = {
        "sample_idx": index,
        "token": token,
        "scene_token": sample["scene_token"],
        "scene_name": nusc.get("scene", sample["scene_token"])["name"],
        "timestamp": lidar["timestamp"] / 1e6,
        "ego2global": global_from_ego.tolist(),
        "lidar_points": {
            "num_pts_feats": POINT_FEATURES,
            "lidar_path": lidar["filename"],
            "lidar2ego": ego_from_lidar.tolist(),
            "sample_data_token": lidar["token"],
        },
        "images": {},
        "lidar_sweeps": [],
        "instances": [_instance(nusc, key, lidar_from_global) for key in sample["anns"]],
    }
    for channel, data_token in sorted(sample["data"].items()):
        if channel.startswith("CAM"):
            entry["images"][channel] = _image(nusc, nusc.get("sample_data", data_token), lidar_from_global)
    previous = lidar["prev"]
    while previous and len(entry["lidar_sweeps"]) < sweeps:
        sweep = nusc.get("sample_data", previous)
        entry["lidar_sweeps"].append(_sweep(nusc, sweep, lidar_from_global))
        previous = sweep["prev"]
    return entry


def _poses(nusc: NuScenesReader, data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """global_from_ego at the record's own time, and ego_from_sensor."""
    pose = nusc.get("ego_pose", data["ego_pose_token"])
    calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    return rigid(pose["translation"], pose["rotation"]), rigid(calibration["translation"], calibration["rotation"])


def _image(nusc: NuScenesReader, data: dict[str, Any], lidar_from_global: np.ndarray) -> dict[str, Any]:
    global_from_ego, ego_from_camera = _poses(nusc, data)
    calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    # nuScenes' images are straight; a dataroot of one's own may have lenses in its table.
    lens = {}
    if read_distortion(calibration, f"calibrated_sensor {calibration['token']}") is not None:
        lens["distortion"] = calibration["distortion"]
    return {
        "img_path": data["filename"],
        "height": data["height"],
        "width": data["width"],
        "cam2img": calibration["camera_intrinsic"],
        **lens,
        "cam2ego": ego_from_camera.tolist(),
        "lidar2cam": invert(lidar_from_global @ global_from_ego @ ego_from_camera).tolist(),
        "timestamp": data["timestamp"] / 1e6,
        "sample_data_token": data["token"],
    }


def _sweep(nusc: NuScenesReader, data: dict[str, Any], lidar_from_global: np.ndarray) -> dict[str, Any]:
    global_from_ego, ego_from_sweep = _poses(nusc, data)
    return {
        "timestamp": data["timestamp"] / 1e6,
        "sample_data_token": data["token"],
        "ego2global": global_from_ego.tolist(),
        "lidar_points": {
            "lidar_path": data["filename"],
            "lidar2ego": ego_from_sweep.tolist(),
            "lidar2sensor": invert(lidar_from_global @ global_from_ego @ ego_from_sweep).tolist(),
        },
    }


def _instance(nusc: NuScenesReader, token: str, lidar_from_global: np.ndarray) -> dict[str, Any]:
    annotation = nusc.get("sample_annotation", token)
    name = category_to_detection_name(annotation["category_name"])
    label = CLASSES.index(name) if name in CLASSES else -1
    velocity = nusc.box_velocity(token)  # NaN where no neighbouring annotation gives one
    box = box_from_global(
        lidar_from_global, annotation["translation"], annotation["size"], annotation["rotation"], velocity
    ).tolist()
    attributes = [nusc.get("attribute", key)["name"] for key in annotation["attribute_tokens"]]
    return {
        "bbox_3d": box[:7],
        "bbox_label": label,
        "bbox_label_3d": label,
        # JSON has no NaN; null is an unknown velocity.
        "velocity": [v if math.isfinite(v) else None for v in box[7:]],
        "num_lidar_pts": annotation["num_lidar_pts"],
        "num_radar_pts": annotation["num_radar_pts"],
        "bbox_3d_isvalid": annotation["num_lidar_pts"] + annotation["num_radar_pts"] > 0,
        "attr_label": ATTRIBUTE_NAMES.index(attributes[0])
        if attributes[:1] and attributes[0] in ATTRIBUTE_NAMES
        else NO_ATTRIBUTE,
        "visibility": int(annotation["visibility_token"]) if annotation["visibility_token"] in _VISIBILITIES else 0,
    }
