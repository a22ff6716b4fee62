"""An artifact's folder: it appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perception.export.manifest import MANIFEST_NAME


@contextmanager
def new_artifact(out: Path) -> Iterator[Path]:
    """A folder to write model and manifest into; it becomes `out` when the block ends without an error, and replaces an
    artifact that is there already.

    Raises FileExistsError when `out` exists and is no artifact.
    """
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise FileExistsError(f"{out} exists and is no artifact: choose another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
