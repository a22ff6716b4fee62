"""nuImages' masks as a COCO-panoptic file."""

import json
import sys
from pathlib import Path

import pytest

from perception.panoptic.files import read_segments
from perception.panoptic.from_nuimages import write_panoptic_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))
from nuimages_root import SIZE, encoded_mask, write_nuimages


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three key frames' tables, with a driveable surface over the lower half of the first image."""
    root = write_nuimages(tmp_path / "nuimages")
    version = root / "v1.0-mini"
    category = json.loads((version / "category.json").read_text())
    category.append({"token": "flat", "name": "flat.driveable_surface", "description": ""})
    (version / "category.json").write_text(json.dumps(category))
    surface = {
        "token": "s",
        "sample_data_token": "frame0",
        "category_token": "flat",
        "mask": encoded_mask((0, 420, 1600, 1380)),
    }
    (version / "surface_ann.json").write_text(json.dumps([surface]))
    return root


def test_objects_lie_on_the_ground_and_the_rest_is_void(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "panoptic.json"
    counts = write_panoptic_file(root, "v1.0-mini", out, progress=False)
    assert counts == {
        "car": 1,
        "bus": 1,
        "ground": 1,
        "without a mask": 1,
    }  # the pedestrian has none; animals are no class
    content = json.loads(out.read_text())
    assert [row["file_name"] for row in content["images"]] == ["samples/CAM_FRONT/0.jpg", "samples/CAM_FRONT/2.jpg"]
    first, second = content["annotations"]
    segment = read_segments(out.parent / "panoptic" / first["file_name"])
    assert segment.shape == SIZE
    car = next(row for row in first["segments_info"] if row["category_id"] == 1)
    # encoded_mask covers the upper half of a box: the car's is 400..450, the surface's 420..900.
    assert car["bbox"] == [100, 400, 200, 50] and car["area"] == 200 * 50
    assert segment[430, 150] == car["id"] and segment[430, 50] == 1 and segment[410, 50] == 0
    assert [row["category_id"] for row in second["segments_info"]] == [4]


def test_what_is_wrong_is_named(root: Path, tmp_path: Path) -> None:
    version = root / "v1.0-mini"
    rows = json.loads((version / "surface_ann.json").read_text())
    rows[0]["mask"]["size"] = [900, 1599]
    (version / "surface_ann.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"mask of s is 1599 x 900"):
        write_panoptic_file(root, "v1.0-mini", tmp_path / "a.json", progress=False)
    rows[0]["category_token"] = "none"
    (version / "surface_ann.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"surface_ann\.json: s has category none"):
        write_panoptic_file(root, "v1.0-mini", tmp_path / "a.json", progress=False)
    assert not (tmp_path / "a.json").exists()
