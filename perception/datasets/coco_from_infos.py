"""2D boxes of a nuScenes data set as a COCO file: the 3D annotations, seen by each camera."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from perception.datasets.coco_files import CocoWriter
from perception.datasets.info_files import resolve_entry, stream_info_file
from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.visible_boxes import visible_boxes
from perception.geometry import compose_image_from_lidar


@dataclass(frozen=True)
class Drawable:
    """What an annotator would draw. The rest is written with iscrowd 1: finding it is neither right nor wrong.

    Attributes:
        min_visible: least share of the box's outline in the image that nearer boxes leave in sight.
        min_visibility: least visibility token: nuScenes' 1..4 is what all cameras see of the object, up to 40, 60, 80
            and 100 %, walls and trees in the way too. Where it is unknown (0 or none) the object counts as visible.
        min_side_px: least width and height.
    """

    min_visible: float = 0.3
    min_visibility: int = 2
    min_side_px: float = 4.0

    def __call__(self, width: float, height: float, visible: float, visibility: int) -> bool:
        in_sight = visible >= self.min_visible and (visibility == 0 or visibility >= self.min_visibility)
        return in_sight and min(width, height) >= self.min_side_px


def create_coco_file(
    ann_file: str | Path,
    out: str | Path,
    root: str | Path | None = None,
    drawable: Drawable | None = None,
    progress: bool = True,
) -> CocoWriter:
    """Write the 2D boxes of every key frame's images of an info file (ours, or mmdet3d's v1.1).

    A box's `area` is that of the rectangle, for want of a mask.

    Args:
        ann_file: info file.
        out: COCO file to write; images are named relative to the dataroot.
        root: dataroot; None takes the one that the info file records.
        drawable: which boxes count; None for the defaults.

    Returns the writer, which knows how much it wrote.

    Raises FileNotFoundError or ValueError that names what is wrong with the info file or the dataroot; a file that was
    there is then left as it was.
    """
    metainfo, count, samples = stream_info_file(ann_file)
    root = Path(root or Path(ann_file).parent / metainfo.get("dataroot", ".")).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no dataroot at {root} (from {ann_file}); name it with --root")
    label_of = {label: CLASSES.index(name) for name, label in metainfo["categories"].items() if name in CLASSES}
    drawable = drawable or Drawable()
    with CocoWriter(out, CLASSES, f"2D boxes of {Path(ann_file).name}, projected from 3D") as writer:
        for sample in tqdm(samples, "2D boxes", count, unit="sample", disable=not progress):
            resolve_entry(sample, root)
            objects = [row for row in sample.get("instances", []) if row["bbox_label_3d"] in label_of]
            boxes = np.array([row["bbox_3d"][:7] for row in objects], dtype=np.float64).reshape(-1, 7)
            for channel, image in sample["images"].items():
                width, height = _size(image)
                name = os.path.relpath(image["img_path"], root)
                number = writer.add_image(name, width, height, channel=channel, sample_token=sample["token"])
                image_from_lidar = compose_image_from_lidar(image["lidar2cam"], image["cam2img"])
                found = visible_boxes(boxes, image_from_lidar, (height, width))
                for k, (x1, y1, x2, y2), visible in zip(*found, strict=True):
                    drawn = drawable(x2 - x1, y2 - y1, float(visible), objects[k].get("visibility") or 0)
                    label = label_of[objects[k]["bbox_label_3d"]]
                    share = round(float(visible), 3)
                    writer.add_box(number, label, (x1, y1, x2 - x1, y2 - y1), ignore=not drawn, visible=share)
    return writer


def _size(image: dict[str, Any]) -> tuple[int, int]:
    """Width and height; mmdet3d's info files do not have them, and the image's header does."""
    if image.get("width") and image.get("height"):
        return int(image["width"]), int(image["height"])
    try:
        with Image.open(image["img_path"]) as header:
            return header.width, header.height
    except FileNotFoundError:
        raise FileNotFoundError(f"image file is missing: {image['img_path']}") from None
    except OSError as error:
        raise ValueError(f"not an image: {image['img_path']} ({error})") from error
