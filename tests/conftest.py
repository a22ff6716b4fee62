"""Fixtures that several test folders use. Data is generated and small; the real key frame is read where it lies."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import NAMES, Browser, find_browser

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def one_frame_root() -> Path:
    """The dataroot of one real nuScenes key frame: PERCEPTION_ONE_FRAME, else ../shared/nuscenes-one-frame."""
    root = Path(os.environ.get("PERCEPTION_ONE_FRAME", REPOSITORY.parent / "shared" / "nuscenes-one-frame"))
    if not (root / "v1.0-mini" / "sample.json").is_file():
        pytest.skip(
            f"no real key frame at {root}; set PERCEPTION_ONE_FRAME to a nuScenes v1.0-mini dataroot of one frame"
        )
    return root


@pytest.fixture(scope="session")
def tiny_synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataroot of the synthetic world: a scene to train and one to validate, three key frames each, with infos."""
    from perception.datasets.nuscenes_infos import create_info_files
    from perception.datasets.synthetic import VERSION, generate_dataroot

    root = tmp_path_factory.mktemp("synthetic")
    generate_dataroot(root, train_scenes=1, val_scenes=1, keyframes_per_scene=3, seed=7, image_size=(320, 180))
    create_info_files(root, VERSION, out=root, progress=False)
    return root


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium (skips where there is none)."""
    executable = find_browser()
    if executable is None:
        pytest.skip(f"no browser: install one of {', '.join(NAMES)}, or name it in PERCEPTION_BROWSER")
    browser = Browser(executable, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()
