"""nuImages as a COCO file: the ten classes of nuScenes' detection task, with masks (nuScenes' tables, without 3D)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from nuscenes.eval.detection.utils import category_to_detection_name
from pycocotools import mask as coco_mask
from tqdm import tqdm

from perception.datasets.coco_files import CocoWriter
from perception.datasets.nuscenes_infos import CLASSES

TABLES = ("category", "calibrated_sensor", "object_ann", "sample_data", "sensor")


def create_coco_file(root: str | Path, version: str, out: str | Path, progress: bool = True) -> CocoWriter:
    """Write the annotated objects of a version's key frames.

    Categories map to classes as nuscenes-devkit does it; other objects (animals, debris, strollers, ...) are left out.
    A box is [xmin, ymin, xmax, ymax] in the tables; its `area` is its mask's, as in COCO, or where it has no mask the
    rectangle's.

    Args:
        root: dataroot, which holds `samples` and the folder of tables.
        version: v1.0-train, v1.0-val, v1.0-mini, or v1.0-test, whose tables hold no objects.
        out: COCO file to write; images are named relative to the dataroot.

    Returns the writer, which knows how much it wrote.

    Raises FileNotFoundError or ValueError that names the table, image or record that is missing or damaged; a file that
    was there is then left as it was.
    """
    root = Path(root)
    tables = {name: read_table(root, version, name) for name in TABLES}
    labels = class_of_category(tables["category"])
    known = {category["token"] for category in tables["category"]}
    objects: dict[str, list[dict[str, Any]]] = {}
    for row in tables["object_ann"]:
        if row["category_token"] not in known:
            raise ValueError(
                f"{root / version / 'object_ann.json'}: object {row['token']} has category {row['category_token']}, "
                "which is not in category.json; unpack the metadata again"
            )
        if row["category_token"] in labels:
            objects.setdefault(row["sample_data_token"], []).append(row)
    channels = _channels(tables)
    frames = key_frames(root, tables)
    with CocoWriter(out, CLASSES, f"nuImages {version}") as writer:
        for frame in tqdm(frames, "images", unit="image", disable=not progress):
            number = writer.add_image(
                frame["filename"], frame["width"], frame["height"],
                channel=channels.get(frame["calibrated_sensor_token"]), sample_data_token=frame["token"],
            )  # fmt: skip
            for row in objects.get(frame["token"], []):
                x1, y1, x2, y2 = row["bbox"]
                if x2 > x1 and y2 > y1:
                    mask = object_mask(row)
                    area = float(coco_mask.area(mask)) if mask else None
                    extra: dict[str, Any] = (
                        {"segmentation": {**mask, "counts": mask["counts"].decode()}} if mask else {}
                    )
                    writer.add_box(number, labels[row["category_token"]], (x1, y1, x2 - x1, y2 - y1), area, **extra)
    return writer


def class_of_category(categories: list[dict[str, Any]]) -> dict[str, int]:
    """{category token: class} of the categories that nuScenes' detection task has."""
    names = {row["token"]: category_to_detection_name(row["name"]) for row in categories}
    return {token: CLASSES.index(name) for token, name in names.items() if name in CLASSES}


def key_frames(root: Path, tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The key frames' rows of sample_data. Raises FileNotFoundError where images are missing."""
    frames = [row for row in tables["sample_data"] if row["is_key_frame"]]
    missing = [row["filename"] for row in frames if not (root / row["filename"]).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(frames)} images are missing in {root}, first {missing[0]}; unpack them again"
        )
    return frames


def read_table(root: Path, version: str, name: str) -> list[dict[str, Any]]:
    """The rows of a table. Raises FileNotFoundError or ValueError that names what is missing or damaged."""
    folder = root / version
    path = folder / f"{name}.json"
    if not folder.is_dir():
        versions = sorted(found.parent.name for found in root.glob("*/object_ann.json"))
        there = (
            f"it has {', '.join(versions)}" if versions else "it holds no version at all: is it a nuImages dataroot?"
        )
        raise FileNotFoundError(f"no version {version!r} in {root}; {there}")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {name}.json; unpack the metadata again")
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); unpack the metadata again") from error
    return rows


def _channels(tables: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """The channel of each calibrated sensor."""
    names = {row["token"]: row["channel"] for row in tables["sensor"]}
    return {row["token"]: names[row["sensor_token"]] for row in tables["calibrated_sensor"]}


def object_mask(row: dict[str, Any]) -> dict[str, Any] | None:
    """The object's mask as COCO's run lengths; nuImages has their text in base64."""
    mask = row.get("mask")
    if not mask:
        return None
    return {"size": mask["size"], "counts": base64.b64decode(mask["counts"])}
