"""Point labels for nothing: LiDAR points inside 3D boxes are objects, those on the ground and on what stands are stuff.

What a camera does not see is left out: the LiDAR stands higher than the cameras, and its points behind an edge would
fall on whatever hides them. Where beams go up and nothing returns, there is sky.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from perception.datasets.info_files import resolve_entry, stream_info_file
from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.sensor_files import read_points
from perception.geometry import compose_image_from_lidar
from perception.ops.points_in_boxes import points_in_boxes
from perception.panoptic.files import categories, read_json
from perception.whole_file import whole_file

GROUND_M = 0.15  # ground: no higher and no lower than this above the road under the car
STRUCTURE_M = 0.8  # structure: from this height on
MARGIN_M = 0.6  # boxes grow by this before what lies outside of them is stuff
SHRINK_M = 0.1  # and shrink by this before what lies inside is the object, and the road under it is not
HIDDEN_SHARE, HIDDEN_RADIUS = 0.05, 0.008  # hidden: a point nearer by 5 % within 0.8 % of the image's width
SKY_LOW_RAD, SKY_HIGH_RAD, SKY_CELL_RAD = 0.07, 0.17, 0.02  # beams of nuScenes' LiDAR go up to 0.186 rad
NEAR_M = 0.5


def write_point_labels(
    ann_file: str | Path,
    out: str | Path,
    root: str | Path | None = None,
    panoptic: str | Path | None = None,
    points_per_target: int = 10,
    progress: bool = True,
) -> dict[str, int]:
    """Write the point labels of an info file's pictures (the format: `perception.panoptic.files`).

    Args:
        ann_file: info file.
        out: file to write.
        root: dataroot; None takes the one that the info file records.
        panoptic: COCO-panoptic file, to take its images by their numbers and no others.
        points_per_target: at most so many of each, spread over it.

    Returns targets per category.

    Raises FileNotFoundError or ValueError that names what is wrong with a file.
    """
    if points_per_target < 1:
        raise ValueError(f"points per target must be at least 1, got {points_per_target}")
    metainfo, count, samples = stream_info_file(ann_file)
    root = Path(root or Path(ann_file).parent / metainfo.get("dataroot", ".")).absolute()
    numbers = None
    if panoptic is not None:
        numbers = {row["file_name"]: row["id"] for row in read_json(panoptic)["images"]}
    labels = {label: CLASSES.index(name) for name, label in metainfo["categories"].items() if name in CLASSES}
    names = [row["name"] for row in categories()]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts = dict.fromkeys(names, 0)
    for sample in tqdm(samples, "point labels", count, unit="sample", disable=not progress):
        resolve_entry(sample, root)
        named = {channel: os.path.relpath(row["img_path"], root) for channel, row in sample["images"].items()}
        if numbers is not None:
            named = {channel: name for channel, name in named.items() if name in numbers}
        if not named:
            continue
        points = read_points(sample["lidar_points"]["lidar_path"])[:, :3]
        rows = [row for row in sample.get("instances", []) if row["bbox_label_3d"] in labels]
        boxes = np.array([row["bbox_3d"][:7] for row in rows], dtype=np.float32).reshape(-1, 7)
        kinds = np.array([labels[row["bbox_label_3d"]] for row in rows], dtype=np.int64)
        cloud, target = label_cloud(points, boxes, sample["lidar_points"]["lidar2ego"])
        for channel, name in named.items():
            image = sample["images"][channel]
            size = (int(image["width"]), int(image["height"]))
            number = numbers[name] if numbers is not None else len(images) + 1
            images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
            found = seen_points(cloud, compose_image_from_lidar(image["lidar2cam"], image["cam2img"]), size)
            targets = _targets(found, target, kinds, points_per_target)
            for entry in targets:
                counts[names[entry["category_id"] - 1]] += 1
            annotations.append({"image_id": number, "targets": targets})
    if numbers is not None and len(images) < len(numbers):
        raise ValueError(f"{panoptic} has {len(numbers) - len(images)} images that {ann_file} does not have")
    with whole_file(out) as file:
        json.dump({"categories": categories(), "images": images, "annotations": annotations}, file)
    return {name: number for name, number in counts.items() if number}


def label_cloud(points: np.ndarray, boxes: np.ndarray, ego_from_lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [P+S,3] (LiDAR frame, m; S directions of sky, far away), and what each is [P+S] int64.

    That is the row of its box, else -1 ground, -2 structure, -3 sky, or -9 where one cannot tell.

    Args:
        points: [P,3] float32.
        boxes: [K,7] float32.
        ego_from_lidar: [4,4]; the ego frame's z is 0 on the road.
    """
    small, large = boxes.copy(), boxes.copy()
    small[:, 3:6] = np.maximum(boxes[:, 3:6] - 2 * SHRINK_M, 0.05)
    large[:, 3:6] += 2 * MARGIN_M
    inside, about = (
        points_in_boxes(torch.from_numpy(points.copy()), torch.from_numpy(b)).numpy() for b in (small, large)
    )
    height = points @ ego_from_lidar[2, :3] + ego_from_lidar[2, 3]
    target = np.full(len(points), -9, dtype=np.int64)
    target[(about < 0) & (np.abs(height) < GROUND_M)] = -1
    target[(about < 0) & (height > STRUCTURE_M)] = -2
    target[inside >= 0] = inside[inside >= 0]
    sky = sky_directions(points)
    return np.concatenate((points, sky)), np.concatenate((target, np.full(len(sky), -3)))


def sky_directions(points: np.ndarray) -> np.ndarray:
    """Points [S,3] float32 far away where beams went up, and nothing came back from there or from beside.

    A beam that is lost now and then (glass, dark paint) is not sky: a whole neighbourhood of five cells must be empty.
    """
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    columns = round(2 * np.pi / SKY_CELL_RAD)
    rows = round((SKY_HIGH_RAD - SKY_LOW_RAD) / SKY_CELL_RAD)
    row = np.floor((elevation - SKY_LOW_RAD) / SKY_CELL_RAD).astype(int)
    column = np.floor((azimuth + np.pi) / (2 * np.pi) * columns).astype(int) % columns
    hit = np.zeros((rows, columns), dtype=np.uint8)
    kept = (row >= 0) & (row < rows)
    hit[row[kept], column[kept]] = 1
    # What returns from above a cell stands in it, too: walls whose middle is glass.
    hit = np.maximum.accumulate(hit[::-1])[::-1]
    wide = np.concatenate((hit[:, -2:], hit, hit[:, :2]), axis=1)
    empty = cv2.dilate(wide, np.ones((1, 5), np.uint8))[:, 2:-2] == 0
    v, u = np.nonzero(empty)
    up, around = SKY_LOW_RAD + (v + 0.5) * SKY_CELL_RAD, (u + 0.5) / columns * 2 * np.pi - np.pi
    ray = np.stack((np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)), axis=1)
    return (1000 * ray).astype(np.float32)


def seen_points(points: np.ndarray, image_from_lidar: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points that a camera sees: [S,3] int64, row in `points` and pixel x, y.

    A point is hidden where another one near it in the picture is nearer to the lens by more than HIDDEN_SHARE.
    """
    width, height = size
    projected = np.pad(points, ((0, 0), (0, 1)), constant_values=1.0) @ image_from_lidar.T
    depth = projected[:, 2]
    ahead = np.flatnonzero(depth > NEAR_M)
    pixel = np.floor(projected[ahead, :2] / depth[ahead, None] + 0.5).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < (width, height))).all(axis=1)
    row, pixel = ahead[inside], pixel[inside]
    radius = max(1, round(HIDDEN_RADIUS * width))
    nearest = np.full((height, width), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (pixel[:, 1], pixel[:, 0]), depth[row].astype(np.float32))
    about = cv2.erode(nearest, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    seen = depth[row] <= about[pixel[:, 1], pixel[:, 0]] * (1 + HIDDEN_SHARE)
    return np.concatenate((row[seen, None], pixel[seen]), axis=1)


def _targets(found: np.ndarray, target: np.ndarray, kinds: np.ndarray, most: int) -> list[dict[str, Any]]:
    """The entries of one picture: objects in the order of their boxes, then stuff."""
    own = target[found[:, 0]]
    out = []
    for number in [*sorted(set(own[own >= 0].tolist())), -1, -2, -3]:
        pixels = found[own == number, 1:]
        if not len(pixels):
            continue
        category = int(kinds[number]) + 1 if number >= 0 else len(CLASSES) - number
        chosen = pixels[spread(pixels, most)]
        out.append({"category_id": category, "points": chosen.tolist()})
    return out


def spread(pixels: np.ndarray, most: int) -> np.ndarray:
    """Rows [<=most] of pixels [P,2]: the one nearest to their median, then always the farthest from those chosen."""
    distance = np.linalg.norm(pixels - np.median(pixels, axis=0), axis=1)
    chosen = [int(distance.argmin())]
    left = np.linalg.norm(pixels - pixels[chosen[0]], axis=1)
    while len(chosen) < most and left.max() > 0:
        chosen.append(int(left.argmax()))
        left = np.minimum(left, np.linalg.norm(pixels - pixels[chosen[-1]], axis=1))
    return np.array(chosen)
