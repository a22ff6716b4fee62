"""The small dataroot and its info file, made once; and a writable copy for tests that damage it."""

import shutil
from pathlib import Path

import pytest
from small_dataroot import write_dataroot

from perception.datasets.nuscenes_infos import create_info_files


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataroot(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_infos(small_root: Path) -> Path:
    return create_info_files(small_root, "v1.0-mini", small_root, progress=False)["train"]


@pytest.fixture
def damaged_root(small_root: Path, tmp_path: Path) -> Path:
    """A copy to damage, without info files."""
    return Path(shutil.copytree(small_root, tmp_path / "root", ignore=shutil.ignore_patterns("*infos*")))
