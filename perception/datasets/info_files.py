"""Info files: what a data set holds, one entry per key frame, in mmdet3d's v1.1 layout.

Ours are JSON, one sample per line, so that writing streams and a person can look; the last line has a checksum of those
before it, so that no damage goes unseen. Those that users have from mmdet3d
are pickles; they are read by an unpickler that builds numpy arrays and plain containers and refuses everything else.
"""

import json
import pickle
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from perception.datasets.file_size import GIB, refuse_huge
from perception.geometry import invert
from perception.whole_file import whole_file

INFO_VERSION = "1.1"
POINT_FEATURES = 5  # a nuScenes point: x y z intensity ring, float32
# The lines before and after the samples of an info file, by which it can be read one sample at a time.
_LIST_OPENS = '"data_list": ['
_CLOSING_LINE = re.compile(rb'\](?:, "crc32": "([0-9a-f]{8})")?\}\s*')
_PICKLES = (".pkl", ".pickle")
_MAX_BYTES = 16 * GIB  # nuScenes' training set takes less than one


def write_info_file(path: str | Path, metainfo: dict[str, Any], samples: Iterable[str]) -> int:
    """Write an info file from samples already encoded as one line of JSON each; returns their number.

    It appears whole or not at all: it is written beside its place and renamed; an existing one stays until then.
    """
    count = checksum = 0
    with whole_file(path, "wb") as file:

        def write(text: str) -> None:
            nonlocal checksum
            line = text.encode()
            checksum = zlib.crc32(line, checksum)
            file.write(line)

        write('{"metainfo": ' + json.dumps(metainfo, allow_nan=False) + ",\n" + _LIST_OPENS)
        for count, sample in enumerate(samples, start=1):
            write((",\n" if count > 1 else "\n") + sample)
        write("\n")
        file.write(f'], "crc32": "{checksum:08x}"}}\n'.encode())
    return count


def read_info_file(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(metainfo, samples) of an info file: ours (.json) or mmdet3d's v1.1 (.pkl).

    Raises FileNotFoundError; ValueError naming the file when it is damaged, of the layout before v1.1, or a pickle that
    asks for anything but arrays and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no info file {path}; make it with tools/create_data.py")
    refuse_huge(path, _MAX_BYTES)
    content = _read_pickle(path) if path.suffix in _PICKLES else _read_json(path)
    if isinstance(content, dict) and "infos" in content:
        raise ValueError(
            f"{path} has the layout that mmdet3d used before version 1.1; make it anew with tools/create_data.py, "
            "or convert it with mmdet3d's tools/dataset_converters/update_infos_to_v2.py"
        )
    if not isinstance(content, dict) or not {"metainfo", "data_list"} <= content.keys():
        raise ValueError(f"{path} is not an info file: it has no 'metainfo' and 'data_list'")
    if not isinstance(content["metainfo"], dict) or not isinstance(content["data_list"], list):
        raise ValueError(f"{path} is not an info file: its 'metainfo' or 'data_list' is of another kind")
    return content["metainfo"], content["data_list"]


def stream_info_file(path: str | Path) -> tuple[dict[str, Any], int, Iterator[dict[str, Any]]]:
    """(metainfo, number of samples, the samples one by one) of an info file.

    Of a file that `write_info_file` wrote, one sample is in memory at a time, where the whole of nuScenes takes
    gigabytes; any other is read as `read_info_file` does, and the same is raised.
    """
    path = Path(path)
    if path.is_file() and path.suffix not in _PICKLES:
        refuse_huge(path, _MAX_BYTES)
        with open(path, "rb") as file:
            head, opens = file.readline(), file.readline()
            if opens.strip() == _LIST_OPENS.encode() and head.endswith(b",\n"):
                count, checksum, last = -1, zlib.crc32(opens, zlib.crc32(head)), b""
                for line in file:
                    count, checksum, last = count + 1, zlib.crc32(last, checksum), line
                # A file that was cut short is left to the strict reader, which names it.
                if closing := _CLOSING_LINE.fullmatch(last):
                    _check_sum(path, checksum, closing)
                    return _line(path, 1, head[:-2] + b"}")["metainfo"], count, _stream_samples(path)
    metainfo, samples = read_info_file(path)
    return metainfo, len(samples), iter(samples)


def _stream_samples(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number > 2 and not _CLOSING_LINE.fullmatch(line):
                yield _line(path, number, line.rstrip(b",\n"))


def _line(path: Path, number: int, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}, line {number}, is not valid JSON ({error}); make it anew with tools/create_data.py"
        ) from error


def resolve_entry(info: dict[str, Any], root: str | Path) -> None:
    """Make an info entry's paths absolute under the dataroot, and its matrices float64 arrays, in place.

    A path may be relative to the dataroot, a bare file name (as mmdet3d writes for key frames) or one of the machine
    that made the info file. `lidar2sensor` of each sweep becomes sweep_from_lidar, the sensor's motion included.
    """
    lidar = info["lidar_points"]
    lidar["lidar_path"] = _resolve(lidar["lidar_path"], root, "LIDAR_TOP")
    lidar["lidar2ego"], info["ego2global"] = np.array(lidar["lidar2ego"]), np.array(info["ego2global"])
    lidar_from_global = invert(info["ego2global"] @ lidar["lidar2ego"])
    for sweep in info.setdefault("lidar_sweeps", []):
        points = sweep["lidar_points"]
        points["lidar_path"] = _resolve(points["lidar_path"], root, "LIDAR_TOP")
        if "ego2global" in sweep and "lidar2ego" in points:
            # From the poses: mmdet3d's lidar2sensor has been written in two ways, of which only one is the inverse.
            lidar_from_sweep = lidar_from_global @ np.array(sweep.pop("ego2global")) @ np.array(points.pop("lidar2ego"))
            points["lidar2sensor"] = invert(lidar_from_sweep)
        else:
            points["lidar2sensor"] = np.array(points["lidar2sensor"])
    for channel, image in info.setdefault("images", {}).items():
        image["img_path"] = _resolve(image["img_path"], root, channel)
        for key in ("cam2img", "lidar2cam", "cam2ego"):
            image[key] = np.array(image[key])


def _resolve(path: str | None, root: str | Path, channel: str) -> str | None:
    if path is None:  # a frame without that sensor
        return None
    parts = PurePosixPath(path).parts
    for folder in ("samples", "sweeps"):
        if folder in parts:
            return str(Path(root, *parts[parts.index(folder) :]))
    return str(Path(root, "samples", channel, path) if len(parts) == 1 else Path(root, path))


def _read_json(path: Path) -> Any:
    content = path.read_bytes()
    start = content.rfind(b"\n", 0, -1) + 1
    if closing := _CLOSING_LINE.fullmatch(content, start):
        _check_sum(path, zlib.crc32(memoryview(content)[:start]), closing)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); make it anew with tools/create_data.py") from error


def _check_sum(path: Path, found: int, closing: re.Match[bytes]) -> None:
    """Files of before the checksum, and those of mmdet3d, have none."""
    if closing[1] is not None and int(closing[1], 16) != found:
        raise ValueError(
            f"{path} was damaged after it was written (its checksum is wrong); make it anew with tools/create_data.py"
        )


def _read_pickle(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file).load()
    # Damaged opcodes reach for whatever they meet.
    except (pickle.UnpicklingError, EOFError, LookupError, ArithmeticError, MemoryError, AttributeError) as error:
        raise ValueError(f"{path} is refused: {error or type(error).__name__}") from error
    except (ImportError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is refused: {error or type(error).__name__}") from error


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What numpy's protocol-2 pickles ask of _codecs.encode, for the one encoding that they use."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} in a pickle")
    return text.encode("latin1")


# numpy moved its core in version 2; pickles name either place.
_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_multiarray: Any = np.core.multiarray
_numeric: Any = np.core.numeric
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    **{(module, "_reconstruct"): _multiarray._reconstruct for module in _NUMPY_CORE},
    **{(module, "scalar"): _multiarray.scalar for module in _NUMPY_CORE},
    ("numpy.core.numeric", "_frombuffer"): _numeric._frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _numeric._frombuffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, numpy scalars and plain containers; no other name is ever looked up, so nothing can be run."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and an info file needs only arrays and plain containers; "
                "it may be damaged or harmful"
            ) from None
