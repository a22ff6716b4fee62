"""The scene viewer in a real browser: it draws, turns, is clicked, steps and hides what it is told to."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Browser

from perception.visualization.scene_viewer import viewer_frame, write_viewer

CLASSES = ("car", "pedestrian")
SIZE = 900, 700


def sample(token: str) -> dict[str, Any]:
    """A frame of a LiDAR that looks along +y, a wall of points ahead, one camera that looks the same way, one
    missing."""
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [rng.uniform([-20, 15, -1.8], [20, 16, 2], (4000, 3)), rng.uniform(0, 60, (4000, 1)), np.zeros((4000, 1))], 1
    )
    points[0, 0] = np.nan
    camera_from_lidar = np.eye(4)
    camera_from_lidar[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    ego_from_lidar = np.eye(4)
    ego_from_lidar[:2, :2], ego_from_lidar[2, 3] = [[0, 1], [-1, 0]], 1.84
    image = np.full((90, 160, 3), (40, 90, 40), np.uint8)
    intrinsics = np.array([[100.0, 0, 80, 0], [0, 100, 45, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return {
        "token": token,
        "scene_name": "scene </script> & 1",
        "points": points.astype(np.float32),
        "lidar_points": {"lidar2ego": ego_from_lidar},
        "cameras": ["CAM_FRONT", "CAM_BACK"],
        "camera_images": [image, None],
        "camera_from_lidar": np.stack([camera_from_lidar, np.eye(4)]),
        "intrinsics": np.stack([intrinsics, np.eye(4)]),
        "image_aug": np.stack([np.eye(4)] * 2),
    }


def frame(token: str, ahead_m: float) -> dict[str, Any]:
    car = np.array([[0.0, ahead_m, -1.0, 4.5, 1.9, 1.6, np.pi / 2, np.nan, np.nan]])
    found = np.array([[0.2, ahead_m, -1.0, 4.4, 1.9, 1.6, np.pi / 2, 0, 5.0], [8.0, 10, -1, 0.7, 0.7, 1.7, 0, 0, 0]])
    return viewer_frame(
        sample(token),
        CLASSES,
        gt_boxes=car,
        gt_labels=np.array([0]),
        gt_points=np.array([42]),
        gt_kinds=["right"],
        pred_boxes=found,
        pred_labels=np.array([0, 1]),
        pred_scores=np.array([0.9, 0.1]),
        pred_kinds=["right", "false"],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_viewer(tmp_path_factory.mktemp("viewer") / "scene.html", [frame("a", 10.0), frame("b", 12.0)], CLASSES)


def pixels(browser: Browser) -> np.ndarray:
    """What the scene's canvas shows, BGR."""
    url = browser.evaluate("document.getElementById('scene').toDataURL('image/png')")
    return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)


def centre_of_first_hit(browser: Browser) -> tuple[float, float]:
    script = """(() => { const p = document.getElementById('scene').getBoundingClientRect(), h = state.hits[0];
        return [p.left + (h.left + h.right)/2, p.top + (h.top + h.bottom)/2]; })()"""
    return tuple(browser.evaluate(script))


def test_points_and_boxes_survive_the_packing(page: Path) -> None:
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    assert text is not None
    content = json.loads(text.group(1))
    packed = np.frombuffer(base64.b64decode(content["frames"][0]["points"]), "<i2").reshape(-1, 3) / 100
    np.testing.assert_allclose(packed, sample("a")["points"][1:, :3], atol=0.0051)
    assert content["frames"][0]["truth"][0]["box"][7:] == [None, None]  # JSON has no NaN
    assert content["frames"][0]["title"].startswith("scene </script> & 1")
    assert not re.search(r"https?://|<link|src=[\"']", page.read_text())


def test_it_draws_and_turns_and_hides(browser: Browser, page: Path) -> None:
    browser.errors.clear()
    browser.open(page, *SIZE)
    assert browser.errors == []
    start = pixels(browser)
    assert (start.max(axis=2) > 80).sum() > 2000  # points, not an empty canvas
    browser.drag((450, 300), (600, 330))
    turned = pixels(browser)
    assert (turned != start).any(axis=2).mean() > 0.01
    browser.evaluate("document.querySelector('[data-name=points]').click()")
    assert (pixels(browser).max(axis=2) > 80).sum() < (turned.max(axis=2) > 80).sum() / 2
    assert browser.evaluate("document.querySelectorAll('#cameras figure').length") == 2
    browser.evaluate("document.querySelector('[data-name=CAM_BACK]').click()")
    assert browser.evaluate("document.querySelectorAll('#cameras figure').length") == 1
    assert browser.errors == []


def test_a_click_on_a_box_describes_it(browser: Browser, page: Path) -> None:
    browser.open(page, *SIZE)
    place = centre_of_first_hit(browser)
    browser.drag(place, place)
    text = browser.evaluate("document.getElementById('info').textContent")
    assert text.startswith("car · ")
    assert "error: right" in text
    assert "at 10.0 m" in text
    browser.drag((20, 330), (20, 330))
    assert browser.evaluate("document.getElementById('info').textContent") == ""


def test_frames_are_stepped_through_and_scores_filter(browser: Browser, page: Path) -> None:
    browser.open(page, *SIZE)
    assert browser.evaluate("boxes().length") == 2  # the pedestrian's score is under 0.3
    browser.evaluate("(() => { const s = document.getElementById('score'); s.value = 0; s.oninput(); })()")
    assert browser.evaluate("boxes().length") == 3
    before = pixels(browser)
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert browser.evaluate("document.getElementById('where').textContent") == "2 / 2"
    assert browser.evaluate("document.getElementById('title').textContent").endswith("b")
    assert (pixels(browser) != before).any()


def test_boxes_lie_on_their_place_in_the_camera(browser: Browser, page: Path) -> None:
    """The wireframe in the camera strip is where the pinhole puts the car: its pixels are looked for there."""
    browser.open(page, *SIZE)
    script = (
        """new Promise(done => setTimeout(() => done(document.querySelector('#cameras canvas').toDataURL()), 200))"""
    )
    strip = cv2.imdecode(
        np.frombuffer(base64.b64decode(browser.evaluate(script).split(",")[1]), np.uint8), cv2.IMREAD_COLOR
    )
    drawn = np.argwhere(np.abs(strip.astype(int) - (40, 90, 40)).max(axis=2) > 60)
    # The near face of the detection: 7.8 m ahead, from -0.75 to 1.15 m aside, from 0.2 to 1.8 m below the camera.
    u = 80 + 100 * np.array([-0.95, 1.15]) / 7.75
    v = 45 + 100 * np.array([0.2, 1.8]) / 7.75
    assert np.abs(drawn.min(axis=0) - [v[0] * 0.9, u[0]]).max() < 4
    assert np.abs(drawn.max(axis=0) - [v[1], u[1]]).max() < 3


def test_on_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 390, 760, phone=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("document.getElementById('scene').clientHeight") > 200


def test_no_frames_no_viewer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_viewer(tmp_path / "v.html", [], CLASSES)
