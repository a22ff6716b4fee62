"""A small fused network as an artifact, and the program that runs it, which `make test` builds where its libraries can
be installed."""

from pathlib import Path

import pytest
from small_network import REPOSITORY, Exported, export_small_network

RUNTIME = REPOSITORY / "build" / "runtime"


@pytest.fixture(scope="session")
def program() -> Path:
    path = RUNTIME / "perception-run"
    if not path.is_file():
        pytest.skip(f"{path} is not built: run `make runtime`")
    return path


@pytest.fixture(scope="session")
def exported(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_small_network(tmp_path_factory.mktemp("exported"))
