"""A small fused network as an artifact, and the program that runs it. Both take minutes to compile, so they are not
part of `make test`: `make test-runtime` builds the program and runs these tests."""

from pathlib import Path

import pytest
from small_network import REPOSITORY, Exported, export_small_network

RUNTIME = REPOSITORY / "build" / "runtime"


@pytest.fixture(scope="session")
def program() -> Path:
    path = RUNTIME / "perception-run"
    if not path.is_file():
        pytest.skip(f"{path} is not built: run `make test-runtime`")
    return path


@pytest.fixture(scope="session")
def exported(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_small_network(tmp_path_factory.mktemp("exported"))
