"""Determinism, re-use and refusals of the generator."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.datasets.synthetic import generate_dataroot
from perception.datasets.synthetic.actors import CLASS_NAMES
from perception.datasets.synthetic.generate import MARKER
from perception.datasets.synthetic.weather import CONDITIONS, sample_weather
from perception.datasets.synthetic.world import make_scene


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_with_any_number_of_workers(
    small_root: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    other = generate_dataroot(tmp_path / "two", workers=2, **settings)
    assert digest(other) == digest(small_root)


def test_another_seed_gives_other_worlds(small_root: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    other = generate_dataroot(
        tmp_path / "other", 1, 0, 1, seed=4, workers=1, image_size=settings["image_size"], progress=False
    )
    first, second = (sorted((root / "samples" / "LIDAR_TOP").iterdir())[0] for root in (small_root, other))
    assert first.read_bytes() != second.read_bytes()


def test_finished_data_set_is_left_alone_and_others_are_replaced(tmp_path: Path) -> None:
    one = dict(train_scenes=1, val_scenes=0, keyframes_per_scene=1, workers=1, image_size=(96, 54), progress=False)
    root = generate_dataroot(tmp_path / "root", seed=0, **one)
    (root / "infos.json").write_text("{}")
    generate_dataroot(root, seed=0, **one)
    assert (root / "infos.json").exists(), "same parameters: nothing was touched"
    partial = tmp_path / "root.partial"
    partial.mkdir()
    (partial / MARKER).write_text(json.dumps({"unfinished": True}))
    generate_dataroot(root, seed=1, **one)
    assert not (root / "infos.json").exists() and not partial.exists()
    assert json.loads((root / MARKER).read_text())["seed"] == 1


def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no synthetic data set"):
        generate_dataroot(tmp_path, 1, 0, 1, progress=False)
    assert (tmp_path / "photos.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_scenes": 701}, "train_scenes is 701"),
        ({"val_scenes": -1}, "val_scenes is -1"),
        ({"train_scenes": 0, "val_scenes": 0}, "nothing to generate"),
        ({"keyframes_per_scene": 0}, "keyframes_per_scene is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"image_size": (640, 480)}, "16:9"),
    ],
)
def test_parameters_out_of_range_are_named(
    tmp_path: Path, settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate_dataroot(tmp_path / "root", **{**settings, **change})
    assert not any(tmp_path.iterdir())


def test_every_class_is_near_the_car_in_a_few_scenes() -> None:
    counts = dict.fromkeys(CLASS_NAMES, 0)
    frames = 0
    for index in range(4):
        scene = make_scene(np.random.SeedSequence([5, index]), index, 4)
        for time_s in (0.0, 1.5):
            near = np.linalg.norm(scene.actor_poses(time_s)[:, :2] - scene.ego_pose(time_s)[:2], axis=1) < 40
            frames += 1
            for actor, close in zip(scene.actors, near, strict=True):
                counts[actor.class_name] += int(close)
    assert min(counts.values()) >= frames / 2, counts


def test_weather_kinds_all_occur() -> None:
    rng = np.random.default_rng(0)
    weather = [sample_weather(index, rng) for index in range(len(CONDITIONS))]
    assert {w.kind for w in weather} == {"day", "night", "overcast", "rain", "glare", "dusk"}
    assert all(np.linalg.norm(w.sun) == pytest.approx(1) for w in weather)
    assert any(w.rain > 0 for w in weather) and any(w.glare > 0 for w in weather) and any(w.dark for w in weather)
