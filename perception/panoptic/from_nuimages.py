"""nuImages' masks as a COCO-panoptic file: objects of nuScenes' ten classes, and the driveable surface as ground.

nuImages does not label buildings, sky or pavements: what no mask covers is void, which is neither learnt nor scored.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from perception.datasets.coco_from_nuimages import class_of_category, key_frames, object_mask, read_table
from perception.datasets.nuscenes_infos import CLASSES
from perception.panoptic.files import categories, segment_folder, segments_info, write_segments
from perception.whole_file import whole_file

DRIVEABLE = "flat.driveable_surface"
GROUND = len(CLASSES) + 1  # category id
FIRST_OBJECT = 4  # segment numbers 1 to 3 are stuff's, as in the synthetic files


def write_panoptic_file(root: str | Path, version: str, out: str | Path, progress: bool = True) -> dict[str, int]:
    """Write `out` and the folder of PNGs beside it, for a version's key frames; returns segments per category.

    Objects lie above the ground; where two masks overlap, the one that the tables name later. An object without a mask
    is left out and counted as "without a mask".

    Raises FileNotFoundError or ValueError that names the table, image or record that is missing or damaged.
    """
    root, out = Path(root), Path(out)
    tables = {
        name: read_table(root, version, name) for name in ("category", "object_ann", "surface_ann", "sample_data")
    }
    classes = class_of_category(tables["category"])
    ground = {row["token"] for row in tables["category"] if row["name"] == DRIVEABLE}
    known = {row["token"] for row in tables["category"]}
    rows_of: dict[str, list[dict]] = {}
    for name in ("surface_ann", "object_ann"):
        for row in tables[name]:
            if row["category_token"] not in known:
                raise ValueError(
                    f"{root / version / name}.json: {row['token']} has category {row['category_token']}, "
                    "which is not in category.json; unpack the metadata again"
                )
            rows_of.setdefault(row["sample_data_token"], []).append(row)
    names = [row["name"] for row in categories()]
    counts = {**dict.fromkeys(names, 0), "without a mask": 0}
    folder = segment_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, frame in enumerate(
        tqdm(key_frames(root, tables), "masks", unit="image", disable=not progress), start=1
    ):
        size = (frame["height"], frame["width"])
        segment = np.zeros(size, dtype=np.int64)
        category_of = {1: GROUND}
        for row in rows_of.get(frame["token"], []):
            token = row["category_token"]
            if token not in classes and token not in ground:
                continue
            mask = object_mask(row)
            if mask is None:
                counts["without a mask"] += 1
                continue
            if tuple(mask["size"]) != size:
                raise ValueError(
                    f"{root / version}: the mask of {row['token']} is {mask['size'][1]} x {mask['size'][0]}, its image "
                    f"{frame['filename']} {size[1]} x {size[0]}; unpack the metadata again"
                )
            inside = coco_mask.decode(mask).astype(bool)
            if token in ground:
                segment[inside] = 1
            else:
                own = FIRST_OBJECT + len(category_of) - 1
                category_of[own] = classes[token] + 1
                segment[inside] = own
        png = f"{frame['token']}.png"
        write_segments(folder / png, segment)
        info = segments_info(segment, category_of)
        for entry in info:
            counts[names[entry["category_id"] - 1]] += 1
        images.append({"id": number, "file_name": frame["filename"], "width": size[1], "height": size[0]})
        annotations.append({"image_id": number, "file_name": png, "segments_info": info})
    with whole_file(out) as file:
        json.dump({"categories": categories(), "images": images, "annotations": annotations}, file)
    return {name: count for name, count in counts.items() if count}
