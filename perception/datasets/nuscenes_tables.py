"""Opening a nuScenes dataroot: every table checked and named before nuscenes-devkit reads them."""

import json
from pathlib import Path
from typing import NamedTuple

from nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

TABLES = [
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility",
]  # fmt: skip

# Version -> {info file's split: the devkit's name of that split}. Any other version brings a splits.json of its own.
OFFICIAL_SPLITS = {
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-test": {"test": "test"},
}


def check_dataroot(root: str | Path, version: str) -> Path:
    """The folder of the tables of `version`.

    Raises FileNotFoundError when the dataroot is missing, has no such version (those it has are listed), or lacks
    tables (all of them are named) or a map file.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no such dataroot: {root}")
    versions = sorted(path.parent.name for path in root.glob("*/sample.json"))
    tables = root / version
    if not tables.is_dir():
        there = (
            f"it has {', '.join(versions)}" if versions else "it holds no version at all: is it a nuScenes dataroot?"
        )
        raise FileNotFoundError(f"no version {version!r} in {root}; {there}")
    missing = [f"{name}.json" for name in TABLES if not (tables / f"{name}.json").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{tables} lacks {len(missing)} of {len(TABLES)} tables: {', '.join(missing)}; unpack the metadata again"
        )
    return tables


def open_nuscenes(root: str | Path, version: str) -> NuScenes:
    """The devkit's view of a dataroot.

    Raises FileNotFoundError as `check_dataroot` does, or naming a map file that is missing; ValueError naming a table
    that is not valid JSON or a record that points to nothing.
    """
    tables = check_dataroot(root, version)
    try:
        return NuScenes(version=version, dataroot=str(root), verbose=False)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{_broken_table(tables)} is not valid JSON ({error}); unpack the metadata again") from error
    except AssertionError as error:
        raise FileNotFoundError(f"{root} is incomplete: {error}; unpack the maps again") from error
    except KeyError as error:
        raise ValueError(
            f"the tables in {tables} are incomplete: a record refers to {error}, which is in none"
        ) from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"the tables in {tables} are damaged ({error}); unpack the metadata again") from error


def _broken_table(tables: Path) -> Path:
    for name in TABLES:
        try:
            json.loads((tables / f"{name}.json").read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            return tables / f"{name}.json"
    return tables


class Split(NamedTuple):
    """A split by the devkit's name, and the names of its scenes."""

    name: str
    scenes: set[str]


def splits_of(root: str | Path, version: str) -> dict[str, Split]:
    """The split of each info file: {"train": ..., "val": ...}, or {"test": ...} for v1.0-test.

    A version that is not nuScenes' own lists its scenes in `<root>/<version>/splits.json`, as the devkit expects, under
    "train", "val" and "test" or names that end so ("city_train"). The devkit scores the longer names only: it knows
    "train" and "val" as nuScenes' own.

    Raises FileNotFoundError when that file is missing, ValueError when it is damaged or has none of these names.
    """
    path = Path(root) / version / "splits.json"
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not valid JSON ({error})") from error
        lists = isinstance(content, dict) and all(isinstance(names, list) for names in content.values())
        if not lists or not all(isinstance(name, str) for names in content.values() for name in names):
            raise ValueError(f"{path} is not lists of scene names by split")
        splits = {name.split("_")[-1]: Split(name, set(scenes)) for name, scenes in content.items()}
        splits = {kind: split for kind, split in splits.items() if kind in ("train", "val", "test")}
        if not splits:
            raise ValueError(f"{path} has neither 'train', 'val' nor 'test'; it has {', '.join(content) or 'nothing'}")
        return splits
    if version not in OFFICIAL_SPLITS:
        raise FileNotFoundError(
            f"{version!r} is not one of {', '.join(OFFICIAL_SPLITS)}, so it needs {path}: "
            '{"train": [scene names], "val": [scene names]}'
        )
    official = create_splits_scenes()
    return {kind: Split(name, set(official[name])) for kind, name in OFFICIAL_SPLITS[version].items()}
