from pathlib import Path

import pytest
from hand_made_nuscenes import Frame, ground_truth, write_tables
from nuscenes import NuScenes


@pytest.fixture(scope="session")
def tables_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made dataroot."""
    return write_tables(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture
def real_frame(one_frame_root: Path) -> Frame:
    """Ground truth of the real key frame (skips where it is absent)."""
    nusc = NuScenes("v1.0-mini", str(one_frame_root), verbose=False)
    return ground_truth(nusc, nusc.sample[0]["token"])
