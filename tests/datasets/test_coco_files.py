"""2D boxes as COCO files, against other roads to the same numbers: brute force, the devkit, hand-made tables."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from nuimages import NuImages
from nuimages.utils.utils import mask_decode
from nuimages_root import OBJECTS, write_nuimages
from pycocotools.coco import COCO

from perception.datasets.coco_files import CocoWriter
from perception.datasets.coco_from_infos import Drawable, create_coco_file
from perception.datasets.coco_from_nuimages import create_coco_file as create_from_nuimages
from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.visible_boxes import visible_boxes
from perception.geometry import box_corners, compose_image_from_lidar

ROOT = Path(__file__).resolve().parents[2]
HW = (180, 320)
# Camera at the LiDAR's origin, looking along +y.
IMAGE_FROM_LIDAR = compose_image_from_lidar(
    np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
    np.array([[160.0, 0, 159.5], [0, 160, 89.5], [0, 0, 1]]),
)


def box(x: float, y: float, z: float, size: tuple[float, float, float], yaw: float = 0.0) -> list[float]:
    return [x, y, z, *size, yaw]


def dense_extent(one: list[float]) -> np.ndarray | None:
    """x1 y1 x2 y2 of the pixels that a box covers, by casting a ray through the middle of each."""
    k, rows, columns = IMAGE_FROM_LIDAR, *HW
    v, u = np.mgrid[0:rows, 0:columns]
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(k[:3, :3]).T
    cos, sin = np.cos(one[6]), np.sin(one[6])
    into = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])  # box frame
    origin, direction = into @ -np.array(one[:3]), rays @ into.T
    half = np.array(one[3:6]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (-half - origin) / direction, (half - origin) / direction
    near, far = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
    hit = ((near <= far) & (far > 0)).reshape(rows, columns)
    if not hit.any():
        return None
    y, x = np.nonzero(hit)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=float)


@pytest.mark.parametrize(
    "one",
    [
        box(0, 12, 0, (4.5, 1.9, 1.6), 0.4),
        box(-7, 8, 1, (10, 2.8, 3.5), 1.2),  # over the image's left edge
        box(3, 1.5, 0, (8, 2, 2), 1.5),  # reaches behind the camera
        box(0, 40, -1, (0.5, 0.5, 1.8)),
        box(0, -10, 0, (4, 2, 2)),  # behind
        box(60, 20, 0, (4, 2, 2)),  # beside
    ],
)
def test_projected_box_is_what_rays_hit(one: list[float]) -> None:
    expected = dense_extent(one)
    found = visible_boxes(np.array([one]), IMAGE_FROM_LIDAR, HW)
    assert len(found.boxes) == (expected is not None)
    if expected is not None:
        assert np.abs(found.boxes[0] - expected).max() <= 1.01  # rays see whole pixels only
        assert found.visible[0] == 1


def test_nearer_boxes_hide() -> None:
    wall = box(-2, 5, 0, (4, 0.2, 4))
    half_hidden, behind, free = box(0, 10, 0, (4, 1, 1)), box(-4, 12, 0, (1, 1, 1)), box(6, 10, 0, (1, 1, 1))
    found = visible_boxes(np.array([half_hidden, behind, wall, free]), IMAGE_FROM_LIDAR, HW)
    order = found.rows.tolist()
    assert set(order) == {0, 2, 3} and order[0] == 2
    alone = visible_boxes(np.array([half_hidden]), IMAGE_FROM_LIDAR, HW).boxes[0]
    edge = visible_boxes(np.array([wall]), IMAGE_FROM_LIDAR, HW).boxes[0, 2]
    shown = found.boxes[order.index(0)]
    assert abs(shown[0] - edge) <= 4 and np.allclose(shown[1:], alone[1:], atol=4)
    assert 0.35 < found.visible[order.index(0)] < 0.65
    assert found.visible[order.index(3)] == found.visible[0] == 1


def test_no_boxes() -> None:
    found = visible_boxes(np.zeros((0, 7)), IMAGE_FROM_LIDAR, HW)
    assert found.boxes.shape == (0, 4) and found.rows.shape == found.visible.shape == (0,)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [((20, 20, 1.0, 4), True), ((20, 20, 0.1, 4), False), ((20, 20, 1.0, 1), False), ((3, 20, 1.0, 0), False),
     ((20, 20, 0.3, 0), True)],
)  # fmt: skip
def test_what_is_drawn(values: tuple[float, float, float, int], drawn: bool) -> None:
    assert Drawable()(*values) == drawn


@pytest.fixture(scope="module")
def synthetic_coco(tiny_synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("coco") / "coco2d_val.json"
    create_coco_file(tiny_synthetic / "nuscenes_infos_val.json", out, progress=False)
    return out


def test_synthetic_frames_as_coco(tiny_synthetic: Path, synthetic_coco: Path) -> None:
    """Images exist; boxes lie in them; each contains the projected corners of its object, or is cut by something."""
    coco = COCO(str(synthetic_coco))
    assert len(coco.imgs) == 18 and [c["name"] for c in coco.dataset["categories"]] == list(CLASSES)
    for image in coco.imgs.values():
        assert (tiny_synthetic / image["file_name"]).is_file()
        assert (image["width"], image["height"]) == (320, 180)
    drawn = [row for row in coco.anns.values() if not row["iscrowd"]]
    assert 10 < len(drawn) < len(coco.anns)
    for row in coco.anns.values():
        x, y, w, h = row["bbox"]
        assert x >= 0 and y >= 0 and x + w <= 320.01 and y + h <= 180.01 and row["area"] > 0
    content = json.loads((tiny_synthetic / "nuscenes_infos_val.json").read_text())
    sample = content["data_list"][0]
    whole = 0
    for channel, image in sample["images"].items():
        matrix = compose_image_from_lidar(np.array(image["lidar2cam"]), np.array(image["cam2img"]))
        extents = []
        for instance in sample["instances"]:
            corners = box_corners(np.array([instance["bbox_3d"]]))[0]
            scaled = np.c_[corners, np.ones(8)] @ matrix.T
            if (scaled[:, 2] > 0.5).all():
                pixels = scaled[:, :2] / scaled[:, 2:3] + 0.5
                if (pixels > 0).all() and (pixels < (320, 180)).all():
                    extents.append([*pixels.min(0), *pixels.max(0)])
        number = next(
            i
            for i, entry in coco.imgs.items()
            if entry["channel"] == channel and entry["sample_token"] == sample["token"]
        )
        for row in coco.imgToAnns[number]:
            x, y, w, h = row["bbox"]
            if row["visible"] == 1 and x > 0 and y > 0 and x + w < 320 and y + h < 180:
                assert min(np.abs(np.array(one) - (x, y, x + w, y + h)).max() for one in extents) < 0.02
                whole += 1
    assert whole > 5


def test_real_frame_as_coco(one_frame_root: Path, tmp_path: Path) -> None:
    """Against the devkit's own projection of the same annotations, where nothing hides or cuts a box."""
    from nuscenes import NuScenes
    from nuscenes.utils.geometry_utils import BoxVisibility, view_points

    from perception.datasets.nuscenes_infos import create_info_files

    infos = create_info_files(one_frame_root, "v1.0-mini", tmp_path, progress=False)["train"]
    create_coco_file(infos, tmp_path / "coco.json", progress=False)
    coco = COCO(str(tmp_path / "coco.json"))
    nusc = NuScenes("v1.0-mini", str(one_frame_root), verbose=False)
    sample = next(s for s in nusc.sample if s["token"] == coco.imgs[1]["sample_token"])
    compared = 0
    for number, image in coco.imgs.items():
        _, boxes, intrinsics = nusc.get_sample_data(sample["data"][image["channel"]], BoxVisibility.ALL)
        extents = []
        for one in boxes:
            pixels = view_points(one.corners(), intrinsics, normalize=True)[:2].T + 0.5
            extents.append([*pixels.min(0), *pixels.max(0)])
        for row in coco.imgToAnns[number]:
            x, y, w, h = row["bbox"]
            if row["visible"] == 1 and x > 0 and y > 0 and x + w < image["width"] and y + h < image["height"]:
                error = min(np.abs(np.array(one) - (x, y, x + w, y + h)).max() for one in extents)
                assert error < 0.5  # a box has a yaw in the LiDAR's frame only, which leans a little
                compared += 1
    assert compared > 10


def test_nuimages_as_coco(tmp_path: Path) -> None:
    root = write_nuimages(tmp_path / "root")
    writer = create_from_nuimages(root, "v1.0-mini", tmp_path / "coco.json", progress=False)
    coco = COCO(str(tmp_path / "coco.json"))
    assert writer.images == len(coco.imgs) == 2 and writer.boxes == len(coco.anns) == 3
    devkit = NuImages("v1.0-mini", str(root), lazy=False)
    by_token = {entry["sample_data_token"]: number for number, entry in coco.imgs.items()}
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    rows = [row for number in by_token.values() for row in coco.imgToAnns[number]]
    expected = [o for o in devkit.object_ann if o["category_token"] != "animal"]
    for row, theirs in zip(rows, expected, strict=True):
        x1, y1, x2, y2 = theirs["bbox"]
        assert row["image_id"] == by_token[theirs["sample_data_token"]]
        assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        if theirs["mask"] is None:
            assert row["area"] == (x2 - x1) * (y2 - y1)
        else:
            assert np.array_equal(coco.annToMask(row), mask_decode(theirs["mask"]))
            assert row["area"] == mask_decode(theirs["mask"]).sum()
    assert [names[row["category_id"]] for row in rows] == ["car", "pedestrian", "bus"]
    assert len(OBJECTS) == 4 and all(entry["channel"] == "CAM_FRONT" for entry in coco.imgs.values())


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("create_data", ROOT / "tools" / "create_data.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("damage", ["version", "table", "json", "image", "category", "info"])
def test_tool_says_what_is_wrong_in_one_line(
    tool: ModuleType, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = write_nuimages(tmp_path / "root"), tmp_path / "coco.json"
    tables = root / "v1.0-mini"
    command: list[Any] = ["nuimages", "--root", root, "--version", "v1.0-mini", "--out", out, "--quiet"]
    named = {"version": "v1.0-train", "table": "sensor.json", "json": "category.json", "image": "0.jpg",
             "category": "object1", "info": "none.json"}[damage]  # fmt: skip
    if damage == "version":
        command[4] = "v1.0-train"
    elif damage == "table":
        (tables / "sensor.json").unlink()
    elif damage == "json":
        (tables / "category.json").write_text("[{")
    elif damage == "image":
        (root / "samples/CAM_FRONT/0.jpg").unlink()
    elif damage == "category":
        rows = json.loads((tables / "object_ann.json").read_text())
        rows[1]["category_token"] = "gone"
        (tables / "object_ann.json").write_text(json.dumps(rows))
    else:
        command = ["coco2d", "--ann-file", tmp_path / "none.json", "--out", out, "--quiet"]
    assert tool.main([str(part) for part in command]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("create_data: error: ") and named in line
    assert not out.exists()


def test_tool_writes_both(
    tool: ModuleType, tiny_synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = write_nuimages(tmp_path / "root"), tmp_path / "new" / "coco.json"
    assert tool.main(["nuimages", "--root", str(root), "--version", "v1.0-mini", "--out", str(out), "--quiet"]) == 0
    assert "3 boxes in 2 images, 0 more to be ignored" in capsys.readouterr().out
    infos = tiny_synthetic / "nuscenes_infos_val.json"
    assert tool.main(["coco2d", "--ann-file", str(infos), "--out", str(out), "--quiet"]) == 0
    assert "boxes in 18 images" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["coco.json"]


def test_a_crash_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), CocoWriter(path, CLASSES, "") as writer:
        writer.add_box(writer.add_image("a.jpg", 4, 3), 0, (0, 0, 1, 1))
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
