"""A small synthetic dataroot and one of its scenes, made once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes

from perception.datasets.synthetic import VERSION, generate_dataroot
from perception.datasets.synthetic.world import Scene, make_scene


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """Arguments of generate_dataroot for the small dataroot."""
    sizes = dict(train_scenes=1, val_scenes=1, keyframes_per_scene=3, image_size=(192, 108))
    return {**sizes, "seed": 3, "progress": False}


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Path:
    return generate_dataroot(tmp_path_factory.mktemp("synthetic") / "root", workers=1, **settings)


@pytest.fixture(scope="session")
def small_nuscenes(small_root: Path) -> NuScenes:
    return NuScenes(VERSION, str(small_root), verbose=False)


@pytest.fixture(scope="session")
def day_scene() -> Scene:
    return make_scene(np.random.SeedSequence(11), 0, 4)
