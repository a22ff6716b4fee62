"""Info files of a nuScenes dataroot, in mmdet3d's v1.1 layout: one entry per key frame with all that training needs.

Transforms keep mmdet3d's names here, since this is its format: `lidar2cam` is camera_from_lidar, ego-motion between the
two sensors' times included. Paths are relative to the dataroot, which `metainfo` records.
"""

import json
import math
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name
from tqdm import tqdm

from perception.datasets.distortion import read_distortion
from perception.datasets.info_files import INFO_VERSION, POINT_FEATURES, write_info_file
from perception.datasets.nuscenes_tables import open_nuscenes, splits_of
from perception.geometry import box_from_global, invert, rigid

# mmdet3d's order of the classes: labels in the info files are places in it.
CLASSES = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone",
    "barrier",
)  # fmt: skip
NO_ATTRIBUTE = -1


def create_info_files(
    root: str | Path,
    version: str,
    out: str | Path,
    sweeps: int = 10,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, Path]:
    """Write `nuscenes_infos_<split>.json` into `out` for every split that the dataroot has samples of.

    Args:
        root, version: dataroot and the folder of its tables.
        sweeps: previous LiDAR sweeps listed per key frame; fewer where the scene has just begun.
        workers: processes that build the entries.

    Returns {split: path}. Raises FileNotFoundError or ValueError (one message that names what is wrong) before anything
    is written; files that were there are replaced only by whole ones.
    """
    if sweeps < 0 or workers < 1:
        raise ValueError(f"sweeps must be 0 or more and workers 1 or more, got {sweeps} and {workers}")
    root, out = Path(root), Path(out)
    nusc = open_nuscenes(root, version)
    splits = splits_of(root, version)
    check_sensor_files(nusc, sweeps, progress)

    scene_names = {scene["token"]: scene["name"] for scene in nusc.scene}
    samples = sorted(nusc.sample, key=lambda sample: (scene_names[sample["scene_token"]], sample["timestamp"]))
    written = {}
    for kind, split in splits.items():
        tokens = [sample["token"] for sample in samples if scene_names[sample["scene_token"]] in split.scenes]
        if tokens:
            metainfo = _metainfo(nusc, root, out, split.name, sweeps)
            written[kind] = out / f"nuscenes_infos_{kind}.json"
            entries = _encoded_entries(nusc, tokens, sweeps, workers)
            bar = tqdm(entries, f"{kind} infos", len(tokens), unit="sample", disable=not progress)
            write_info_file(written[kind], metainfo, bar)
    if not written:
        known = ", ".join(sorted(scene_names.values())[:5])
        raise ValueError(f"none of the {len(nusc.scene)} scenes of {root / version} ({known}) is in any of its splits")
    return written


def _metainfo(nusc: NuScenes, root: Path, out: Path, split: str, sweeps: int) -> dict[str, Any]:
    categories = {name: label for label, name in enumerate(CLASSES)}
    for category in nusc.category:
        categories.setdefault(category_to_detection_name(category["name"]) or category["name"], -1)
    inside = out.resolve() == root.resolve() or root.resolve() in out.resolve().parents
    return {
        "dataset": "nuscenes",
        "version": nusc.version,
        "info_version": INFO_VERSION,
        "split": split,
        "sweeps": sweeps,
        "categories": categories,
        "attributes": ATTRIBUTE_NAMES,
        # A dataroot that holds its own info files can be moved with them.
        "dataroot": os.path.relpath(root.resolve(), out.resolve()) if inside else str(root.resolve()),
    }


def check_sensor_files(nusc: NuScenes, sweeps: int, progress: bool = True) -> None:
    """Refuse a dataroot that lacks sensor files, or whose LiDAR files are not whole points.

    Raises FileNotFoundError or ValueError with the count and the first names.
    """
    needed = [
        record
        for record in nusc.sample_data
        if record["sensor_modality"] in ("camera", "lidar")
        and (record["is_key_frame"] or (sweeps and record["channel"] == "LIDAR_TOP"))
    ]
    missing, truncated = [], []
    for record in tqdm(needed, "sensor files", unit="file", disable=not progress or len(needed) < 5000):
        try:
            size = os.stat(os.path.join(nusc.dataroot, record["filename"])).st_size
        except FileNotFoundError:
            missing.append(record["filename"])
            continue
        if record["sensor_modality"] == "lidar" and size % (4 * POINT_FEATURES):
            truncated.append(record["filename"])
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(needed)} sensor files are missing in {nusc.dataroot}: {_first(missing)}"
        )
    if truncated:
        raise ValueError(
            f"{len(truncated)} LiDAR files in {nusc.dataroot} are truncated (their size is not a multiple of "
            f"{4 * POINT_FEATURES} bytes): {_first(truncated)}"
        )


def _first(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _encoded_entries(nusc: NuScenes, tokens: list[str], sweeps: int, workers: int) -> Iterator[str]:
    jobs = ((index, token) for index, token in enumerate(tokens))
    if workers == 1:
        builder = _EntryBuilder(nusc, sweeps)
        yield from map(builder, jobs)
        return
    global _worker_builder
    _worker_builder = _EntryBuilder(nusc, sweeps)
    # Forked workers share the tables, which take gigabytes for the whole of nuScenes.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap(_build_in_worker, jobs, chunksize=32)


_worker_builder: "_EntryBuilder"


def _build_in_worker(job: tuple[int, str]) -> str:
    return _worker_builder(job)


class _EntryBuilder:
    def __init__(self, nusc: NuScenes, sweeps: int) -> None:
        self.nusc, self.sweeps = nusc, sweeps

    def __call__(self, job: tuple[int, str]) -> str:
        index, token = job
        return json.dumps(sample_entry(self.nusc, token, index, self.sweeps), allow_nan=False)


def sample_entry(nusc: NuScenes, token: str, index: int, sweeps: int) -> dict[str, Any]:
    """The info entry of one key frame: poses, calibration, paths, previous sweeps and, where there are any, boxes."""
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


def _poses(nusc: NuScenes, data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """global_from_ego at the record's own time, and ego_from_sensor."""
    pose = nusc.get("ego_pose", data["ego_pose_token"])
    calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    return rigid(pose["translation"], pose["rotation"]), rigid(calibration["translation"], calibration["rotation"])


def _image(nusc: NuScenes, data: dict[str, Any], lidar_from_global: np.ndarray) -> dict[str, Any]:
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


def _sweep(nusc: NuScenes, data: dict[str, Any], lidar_from_global: np.ndarray) -> dict[str, Any]:
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


def _instance(nusc: NuScenes, token: str, lidar_from_global: np.ndarray) -> dict[str, Any]:
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
        "attr_label": ATTRIBUTE_NAMES.index(attributes[0]) if attributes else NO_ATTRIBUTE,
        "visibility": int(annotation["visibility_token"] or 0),
    }
