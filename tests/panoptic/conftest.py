"""A COCO-panoptic file of three made-up images."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_panoptic import CAR, GROUND, HEIGHT, SKY, WIDTH

from perception.panoptic.files import categories, segments_info, write_segments


@pytest.fixture
def truth_file(tmp_path: Path) -> Path:
    """Sky above ground; in the first two images a car, in the second two."""
    images, annotations = [], []
    (tmp_path / "truth").mkdir()
    for number in range(1, 4):
        segment = np.full((HEIGHT, WIDTH), 1)
        segment[: HEIGHT // 2] = 3
        picture = np.where(segment[..., None] == 1, (90, 90, 90), (250, 200, 120)).astype(np.uint8)
        category_of = {1: GROUND, 3: SKY}
        for car in range(min(number, 2) if number < 3 else 0):
            rows, columns = slice(30, 54), slice(20 + 60 * car, 52 + 60 * car)
            segment[rows, columns], picture[rows, columns] = 300 + car, (20, 20, 220)
            category_of[300 + car] = CAR
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        write_segments(tmp_path / "truth" / f"{number}.png", segment)
        images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
        info = segments_info(segment, category_of)
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": info})
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"categories": categories(), "images": images, "annotations": annotations}))
    return path


@pytest.fixture
def points_file(truth_file: Path) -> Path:
    """Point labels of the same images: the first car and the ground, ground alone, and nothing at all."""
    content = json.loads(truth_file.read_text())
    content["annotations"] = [
        {"image_id": 1, "targets": [
            {"category_id": CAR, "points": [[30, 40], [45, 50]]}, {"category_id": GROUND, "points": [[100, 60]]}
        ]},
        {"image_id": 2, "targets": [{"category_id": GROUND, "points": [[100, 60]]}]},
        {"image_id": 3, "targets": []},
    ]  # fmt: skip
    path = truth_file.with_name("points.json")
    path.write_text(json.dumps(content))
    return path
