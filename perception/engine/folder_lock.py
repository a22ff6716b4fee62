"""One training at a time in a folder: two would take each other's checkpoints for their own."""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a folder, which is made where there is none, until the block or the process ends, however it ends.

    Raises BlockingIOError where another process holds it. Warns where the file system has no locks, as some clusters'.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            # A record lock is this process's alone. flock's would live on in the data loader's workers, which outlive
            # a kill by seconds, and keep the run from going on.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX allows either
            raise BlockingIOError(
                f"another process is training in {folder}: wait for it, or choose another --work-dir"
            ) from error
        except OSError as error:
            warnings.warn(f"nothing keeps a second training out of {folder}: {error.strerror}", stacklevel=3)
        yield
