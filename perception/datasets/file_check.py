"""Whether the files of a data set are whole, many at a time."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from perception.datasets.sensor_files import check_image_ends, check_points_size, read_image, read_points

_BATCH = 4096


class SensorFile(NamedTuple):
    """A file to check: `features` numbers per point of a cloud, 0 for an image."""

    path: str
    features: int


def check_file(file: SensorFile, contents: bool = False) -> str | None:
    """What is wrong with a file, or None.

    Without `contents`: whether it is there, is not empty, has whole points, or begins and ends as its image format
    says. With it, all of it is read and decoded as in training.
    """
    try:
        if contents:
            if file.features:
                read_points(file.path, file.features)
            else:
                read_image(file.path)
        if not (size := os.stat(file.path).st_size):
            return f"empty: {file.path}"
        if file.features:
            check_points_size(size, file.path, file.features)
        else:
            check_image_ends(file.path)
    except FileNotFoundError:
        return f"missing: {file.path}"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def bad_files(
    files: Iterable[SensorFile], total: int, contents: bool = False, workers: int = 8, progress: bool = True
) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of every bad file, in order. Threads wait for the disk together; memory is constant."""
    files = iter(files)
    bar = tqdm(total=total, desc="files", unit="file", disable=not progress or total < 5000)
    with bar, ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(files, _BATCH)):
            for file, problem in zip(batch, pool.map(lambda f: check_file(f, contents), batch), strict=True):
                if problem is not None:
                    yield file.path, problem
            bar.update(len(batch))


def describe(problems: list[str], total: int, root: str | Path, shown: int = 5) -> str:
    """One line that counts the bad files and names the first ones."""
    more = f" and {len(problems) - shown} more" if len(problems) > shown else ""
    return f"{len(problems)} of {total} sensor files in {root} are bad: {'; '.join(problems[:shown])}{more}"
