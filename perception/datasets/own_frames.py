"""Anyone's recordings to train on: info files of a folder of clouds, images, calibration and boxes, and their data set.

The folder is that of perception/datasets/frames.py, and beside it:

    folder/boxes/STEM.json    {"boxes": [{"class": NAME, "centre_m": [x, y, z], "size_m": [length, width, height],
                              "yaw_rad": a, "velocity_mps": [vx, vy] or null}]}, in the LiDAR frame at that time, as
                              tools/infer.py writes them. A frame without this file is not trained on.
    folder/poses.json         optional: {STEM: {"time_s": t, "global_from_lidar": 4x4}}. With it, frames of the last
                              half second become sweeps of the next ones.
    folder/splits.json        optional: {"train": [STEM, ..], "val": [STEM, ..]}
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perception.command_line import nearest
from perception.datasets.file_size import GIB, refuse_huge
from perception.datasets.frames import read_frames
from perception.datasets.info_files import INFO_VERSION, stream_info_file, write_info_file
from perception.datasets.nuscenes import DATASETS, NuScenesFusionDataset
from perception.datasets.sensor_files import read_points
from perception.geometry import invert
from perception.ops.points_in_boxes import points_in_boxes_all

_SWEEP_SPAN_S, _MAX_SWEEPS = 0.55, 10


@DATASETS.register_module()
class OwnFramesDataset(NuScenesFusionDataset):
    """Frames of `create_folder_infos`, with classes of one's own.

    Args:
        ann_file: the info file.
        classes: names to train on, in the order of the labels; boxes of others are left out. None takes all that the
            info file has.
        kwargs: as NuScenesFusionDataset.

    Raises ValueError naming a class that the info file does not have.
    """

    def __init__(self, ann_file: str, classes: Sequence[str] | None = None, **kwargs: Any) -> None:
        categories = stream_info_file(ann_file)[0].get("categories", {})
        there = tuple(sorted(categories, key=categories.__getitem__))
        for name in classes or ():
            if name not in there:
                raise ValueError(f"{ann_file} has no class {name!r}{nearest(name, there)}; it has {', '.join(there)}")
        # mmdet3d takes the numbers of labels in the file from here.
        self.METAINFO: dict[str, Any] = {**NuScenesFusionDataset.METAINFO, "classes": there}
        super().__init__(ann_file, metainfo={"classes": tuple(classes or there)}, **kwargs)


def create_folder_infos(folder: str | Path, out: str | Path | None = None, val_fraction: float = 0.2) -> dict[str, Any]:
    """Write infos_train.json and infos_val.json of a folder of frames with boxes.

    Args:
        folder: see the module.
        out: where to write; None is the folder.
        val_fraction: of the frames, the last ones by name, where there is no splits.json. Neighbours in time look the
            same, so a random choice would score what was learnt.

    Returns {"train": path, "val": path, "samples": {split: count}, "classes": {name: count of boxes}}.

    Raises FileNotFoundError or ValueError naming the file and the field that is missing or wrong.
    """
    folder = Path(folder)
    out = Path(out) if out is not None else folder
    frames = {str(frame["token"]): frame for frame in read_frames(folder)}
    boxes = {stem: path for stem in frames if (path := folder / "boxes" / f"{stem}.json").is_file()}
    if not boxes:
        raise FileNotFoundError(f"no boxes in {folder / 'boxes'}: a frame's are in STEM.json")
    splits = _splits(folder, list(boxes), val_fraction)
    read = {stem: _read_boxes(path) for stem, path in boxes.items()}
    names = sorted({box["class"] for rows in read.values() for box in rows})
    if not names:
        raise ValueError(f"the {len(boxes)} files in {folder / 'boxes'} hold no box")
    poses = _read_poses(folder / "poses.json", frames)
    metainfo = {
        "dataset": "own frames",
        "info_version": INFO_VERSION,
        "categories": {name: label for label, name in enumerate(names)},
        "dataroot": str(folder.resolve()),
    }
    result: dict[str, Any] = {"samples": {}}
    for split, stems in splits.items():
        result[split] = str(out / f"infos_{split}.json")
        entries = _entries(folder, frames, stems, read, names, poses)
        result["samples"][split] = write_info_file(result[split], {**metainfo, "split": split}, entries)
    result["classes"] = {name: sum(box["class"] == name for rows in read.values() for box in rows) for name in names}
    return result


def _entries(
    folder: Path,
    frames: dict[str, dict[str, Any]],
    stems: list[str],
    boxes: dict[str, list[dict[str, Any]]],
    names: list[str],
    poses: dict[str, tuple[float, np.ndarray]],
) -> Iterator[str]:
    for index, stem in enumerate(stems):
        frame = frames[stem]
        time_s, pose = poses.get(stem, (0.0, np.eye(4)))
        cloud = frame["lidar_path"]
        lidar = {**frame["lidar_points"], **_file(folder, cloud, "lidar_path"), "lidar2ego": np.eye(4).tolist()}
        entry = {
            "sample_idx": index,
            "token": stem,
            "timestamp": time_s,
            "ego2global": pose.tolist(),
            "lidar_points": lidar,
            "images": {name: _image(folder, image) for name, image in frame["images"].items()},
            "lidar_sweeps": _sweeps(folder, frames, stem, poses),
            "instances": _instances(boxes[stem], names, cloud, frame["lidar_points"]["num_pts_feats"]),
        }
        yield json.dumps(entry, allow_nan=False)


def _file(folder: Path, path: str | None, key: str) -> dict[str, Any]:
    if path is None:
        return {key: None}
    return {key: Path(path).relative_to(folder).as_posix(), "bytes": Path(path).stat().st_size}


def _image(folder: Path, image: dict[str, Any]) -> dict[str, Any]:
    camera_from_lidar = image["lidar2cam"]
    return {
        **_file(folder, image["img_path"], "img_path"),
        "width": image["width"],
        "height": image["height"],
        "cam2img": image["cam2img"].tolist(),
        "lidar2cam": camera_from_lidar.tolist(),
        "cam2ego": invert(camera_from_lidar).tolist(),  # the ego frame is the LiDAR's
    }


def _sweeps(
    folder: Path, frames: dict[str, dict[str, Any]], stem: str, poses: dict[str, tuple[float, np.ndarray]]
) -> list[dict[str, Any]]:
    """Frames with a cloud of the last half second, the newest first."""
    if stem not in poses:
        return []
    now_s = poses[stem][0]
    earlier = [s for s, (time_s, _) in poses.items() if 0 < now_s - time_s <= _SWEEP_SPAN_S and frames[s]["lidar_path"]]
    return [
        {
            "timestamp": poses[s][0],
            "ego2global": poses[s][1].tolist(),
            "lidar_points": {**_file(folder, frames[s]["lidar_path"], "lidar_path"), "lidar2ego": np.eye(4).tolist()},
        }
        for s in sorted(earlier, key=lambda s: -poses[s][0])[:_MAX_SWEEPS]
    ]


def _instances(boxes: list[dict[str, Any]], names: list[str], cloud: str | None, features: int) -> list[dict[str, Any]]:
    rows = [[*box["centre_m"], *box["size_m"], box["yaw_rad"]] for box in boxes]
    counts = [1] * len(rows)  # where there is no cloud, no box is dropped for having no points
    if cloud is not None and rows:
        points = read_points(cloud, features)
        xyz = torch.from_numpy(np.ascontiguousarray(points[:, :3]))
        inside = points_in_boxes_all(xyz, torch.tensor(rows, dtype=torch.float32))
        counts = inside.sum(0).tolist()
    return [
        {
            "bbox_3d": row,
            "bbox_label_3d": names.index(box["class"]),
            "velocity": box.get("velocity_mps") or [None, None],
            "num_lidar_pts": count,
        }
        for row, box, count in zip(rows, boxes, counts, strict=True)
    ]


def _read_json(path: Path) -> Any:
    refuse_huge(path, GIB // 4)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def _read_boxes(path: Path) -> list[dict[str, Any]]:
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("boxes"), list):
        raise ValueError(f"{path} has no list 'boxes'")
    for index, box in enumerate(content["boxes"]):
        where = f"{path}, box {index}"
        if not isinstance(box, dict) or not isinstance(box.get("class"), str) or not box["class"]:
            raise ValueError(f"{where} has no 'class'")
        for key, count in (("centre_m", 3), ("size_m", 3)):
            if not _are_numbers(box.get(key), count):
                raise ValueError(f"{where}: {key!r} is missing or not {count} finite numbers")
        if min(box["size_m"]) <= 0:
            raise ValueError(f"{where}: 'size_m' has a length of zero or less")
        if not _are_numbers([box.get("yaw_rad")], 1):
            raise ValueError(f"{where}: 'yaw_rad' is missing or not a finite number")
        if box.get("velocity_mps") is not None and not _are_numbers(box["velocity_mps"], 2):
            raise ValueError(f"{where}: 'velocity_mps' is neither two finite numbers nor null")
    return content["boxes"]


def _are_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    )


def _read_poses(path: Path, frames: dict[str, Any]) -> dict[str, tuple[float, np.ndarray]]:
    if not path.is_file():
        return {}
    poses = {}
    for stem, row in _read_json(path).items():
        try:
            time_s, pose = float(row["time_s"]), np.array(row["global_from_lidar"], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {stem!r} lacks a number 'time_s' or a matrix 'global_from_lidar'") from error
        rotation = pose[:3, :3]
        if pose.shape != (4, 4) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError(f"{path}: 'global_from_lidar' of {stem!r} is not a rotation and a translation")
        if stem in frames:
            poses[stem] = (time_s, pose)
    return poses


def _splits(folder: Path, stems: list[str], val_fraction: float) -> dict[str, list[str]]:
    path = folder / "splits.json"
    if not path.is_file():
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        cut = max(1, min(len(stems) - 1, round(len(stems) * (1 - val_fraction))))
        return {"train": stems[:cut], "val": stems[cut:] or stems}
    content = _read_json(path)
    splits: dict[str, list[str]] = {}
    for split in ("train", "val"):
        wanted = content.get(split) if isinstance(content, dict) else None
        if not isinstance(wanted, list) or not wanted:
            raise ValueError(f"{path} has no list {split!r} of frames")
        if unknown := [stem for stem in wanted if stem not in stems]:
            raise ValueError(f"{path}: {len(unknown)} frames of {split!r} have no boxes, the first: {unknown[0]}")
        splits[split] = wanted
    return splits
