"""What the runtime reads from files, against the Python pipeline (OpenCV), hashlib and PCD files written here."""

import hashlib
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cmake_build import SanitizedBuild, build_sanitized

from perception.datasets.transforms import ImageAugment, LoadCameras
from perception.geometry import compose_image_from_lidar

IMAGE, SIZE, POINTS, POINT_COUNT, MANIFEST, CALIBRATION = 7, 8, 9, 10, 3, 6
POSE = np.array([[1, 0, 0, 0.5], [0, 0, -1, 0.25], [0, 1, 0, -1], [0, 0, 0, 1.0]])
INTRINSICS = np.array([[500, 0, 320], [0, 510, 240], [0, 0, 1.0]])
Probe = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def sanitized_build() -> SanitizedBuild:
    """The runtime's readers under sanitizers. Skips where what they need is not installed."""
    for header in ("jpeglib.h", "png.h", "nlohmann/json.hpp"):
        source = f"#include <stdio.h>\n#include <{header}>\n"
        command = ["c++", "-x", "c++", "-std=c++20", "-fsyntax-only", "-"]
        if subprocess.run(command, input=source, capture_output=True, text=True, check=False).returncode != 0:
            pytest.skip(f"{header} is missing: apt install libjpeg62-turbo-dev libpng-dev nlohmann-json3-dev")
    return build_sanitized("runtime_probe", "test_workers")


@pytest.fixture(scope="module")
def probe(sanitized_build: SanitizedBuild) -> Probe:
    program = sanitized_build.folder / "runtime_tests" / "runtime_probe"

    def call(*arguments: Any) -> subprocess.CompletedProcess:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)

    return call


def test_threads_and_percentiles(sanitized_build: SanitizedBuild, probe: Probe) -> None:
    sanitized_build.check("test_workers")


def picture(width: int, height: int) -> np.ndarray:
    """A scene of gradients, edges and noise, BGR."""
    rng = np.random.default_rng(width)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1)
    image = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    cv2.circle(image, (width // 2, height // 2), height // 4, (10, 200, 250), 5)
    return image


@pytest.mark.parametrize(
    "suffix", [".jpg", ".png", ".grey.jpg", ".grey.png", ".alpha.png", ".420.jpg", ".progressive.jpg"]
)
@pytest.mark.parametrize(
    ("width", "height", "size_hw", "min_hw", "options"),
    [
        (400, 224, (64, 176), (64, 176), {}),
        (800, 448, (128, 352), (64, 170), {}),
        (640, 360, (96, 256), None, {"scale": 1.1, "crop_x": 0.3, "crop_y": 0.9}),
        (200, 120, (128, 256), (128, 256), {}),  # enlarged, and black above
        (321, 181, (64, 160), None, {"scale": 0.7}),  # black around
    ],
)
def test_an_image_is_what_the_python_pipeline_makes_of_it(
    probe: Probe, tmp_path: Path, suffix: str, width: int, height: int, size_hw: tuple[int, int],
    min_hw: tuple[int, int] | None, options: dict[str, float],
) -> None:  # fmt: skip
    image, parameters = picture(width, height), []
    if "grey" in suffix:
        image = image[..., 0]
    if "alpha" in suffix:
        image = np.concatenate([image, image[..., :1]], -1)
    if "420" in suffix:
        parameters = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    if "progressive" in suffix:
        parameters = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), image, parameters)
    scale, crop_x, crop_y = options.get("scale", 1.0), options.get("crop_x", 0.5), options.get("crop_y", 1.0)

    entry = {"img_path": str(path), "cam2img": INTRINSICS, "lidar2cam": POSE, "width": width, "height": height}
    results = LoadCameras(min_hw=min_hw).transform({"images": {"CAM": entry}, "timestamp": 0.0})
    augment = ImageAugment(size_hw, (scale, scale), (crop_x, crop_x), (crop_y, crop_y))
    results = augment.transform(results)

    done = probe("image", path, *size_hw, *(min_hw or (0, 0)), scale, crop_x, crop_y)
    assert done.returncode == 0, done.stderr
    rows, columns = size_hw
    ours = np.frombuffer(done.stdout[: -16 * 8], np.uint8).reshape(3, rows, columns)
    np.testing.assert_array_equal(ours, results["camera_images"][0].transpose(2, 0, 1))
    expected = compose_image_from_lidar(POSE, INTRINSICS, results["image_aug"][0])
    np.testing.assert_allclose(np.frombuffer(done.stdout[-16 * 8 :]).reshape(4, 4), expected, rtol=1e-14, atol=1e-12)


def test_a_damaged_image_is_refused(probe: Probe, tmp_path: Path) -> None:
    arguments = (64, 176, 64, 176, 1, 0.5, 1)
    for suffix in (".jpg", ".png"):
        good = cv2.imencode(suffix, picture(400, 224))[1].tobytes()
        corrupt = bytearray(good)
        corrupt[len(good) // 2 : len(good) // 2 + 40] = bytes(range(0xD0, 0xF8))
        for content in (b"", b"text", good[:100], good[: len(good) // 2], good[:-20], bytes(corrupt)):
            (tmp_path / "image").write_bytes(content)
            done = probe("image", tmp_path / "image", *arguments)
            assert done.returncode == IMAGE and b"an image" in done.stderr, (suffix, len(content), done.stderr)


FIELDS = np.dtype([("ring", "u2"), ("x", "f4"), ("y", "f8"), ("z", "f4"), ("intensity", "u1"), ("normal", "f4", 3)])


def records(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    points = np.zeros(count, FIELDS)
    for name in "xyz":
        points[name] = rng.normal(0, 20, count)
    points["intensity"], points["ring"] = rng.integers(0, 256, count), rng.integers(0, 32, count)
    return points


def lzf_literals(data: bytes) -> bytes:
    """LZF without any copy: valid, if not small."""
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def lzf_runs(data: bytes) -> bytes:
    """LZF with copies: every run of three or more equal bytes is one byte and a copy that overlaps itself."""
    out, i = b"", 0
    while i < len(data):
        run = 1
        while i + run < len(data) and data[i + run] == data[i] and run < 264:
            run += 1
        out += b"\x00" + data[i : i + 1]
        if run >= 4:
            length = run - 3  # the copy is `run - 1` long, two more than it says
            out += bytes([length << 5, 0]) if length < 7 else bytes([7 << 5, length - 7, 0])
            i += run
        else:
            i += 1
    return out


def pcd(points: np.ndarray, data: str, compress: Callable[[bytes], bytes] = lzf_literals) -> bytes:
    kinds = [points.dtype[name].base for name in points.dtype.names]
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS {' '.join(points.dtype.names)}\nSIZE {' '.join(str(k.itemsize) for k in kinds)}\n"
        f"TYPE {' '.join(k.kind.upper() for k in kinds)}\n"
        f"COUNT {' '.join(str(int(np.prod(points.dtype[n].shape))) for n in points.dtype.names)}\n"
        f"WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {data}\n"
    ).encode()
    if data == "ascii":
        rows = [" ".join(repr(v) for n in points.dtype.names for v in np.atleast_1d(p[n]).tolist()) for p in points]
        return header + "\n".join(rows).encode() + b"\n" * bool(rows)
    if data == "binary":
        return header + points.tobytes()
    columns = b"".join(np.ascontiguousarray(points[name]).tobytes() for name in points.dtype.names)
    packed = compress(columns)
    return header + struct.pack("<II", len(packed), len(columns)) + packed


def expected_points(points: np.ndarray) -> np.ndarray:
    return np.stack([points[name].astype(np.float32) for name in ("x", "y", "z", "intensity")], -1)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_every_kind_of_pcd_gives_the_same_points(probe: Probe, tmp_path: Path, count: int) -> None:
    points, path = records(count), tmp_path / "cloud.pcd"
    files = [pcd(points, kind) for kind in ("ascii", "binary", "binary_compressed")]
    for content in (*files, pcd(points, "binary_compressed", lzf_runs), files[0].replace(b"\n", b"\r\n")):
        path.write_bytes(content)
        done = probe("pcd", path, 5000)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(-1, 4), expected_points(points))


@pytest.mark.parametrize("features", [3, 4, 5])
def test_rows_of_float32(probe: Probe, tmp_path: Path, features: int) -> None:
    points = np.random.default_rng(0).normal(size=(100, features)).astype(np.float32)
    points.tofile(tmp_path / "cloud.bin")
    done = probe("rows", tmp_path / "cloud.bin", features, 100)
    expected = np.zeros((100, 4), np.float32)
    expected[:, : min(features, 4)] = points[:, :4]
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(-1, 4), expected)


def test_a_damaged_cloud_is_refused(probe: Probe, tmp_path: Path) -> None:
    good = records(50)
    bad = good.copy()
    bad["y"][7] = np.nan
    path = tmp_path / "cloud"
    for kind in ("ascii", "binary", "binary_compressed"):
        whole = pcd(good, kind)
        for content in (
            whole[: len(whole) // 2],
            whole[:-30],
            pcd(bad, kind),
            whole.replace(b"FIELDS ring x", b"FIELDS ring u"),
        ):
            path.write_bytes(content)
            assert (done := probe("pcd", path, 5000)).returncode == POINTS, (kind, done.stderr)
        path.write_bytes(whole)
        assert probe("pcd", path, 49).returncode == POINT_COUNT
    lie = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 400000\nHEIGHT 1\nDATA binary_compressed\n"
    path.write_bytes(lie + struct.pack("<II", 3, 4_800_000) + b"\x00\x00\x00")
    assert probe("pcd", path, 400_000).returncode == POINTS
    path.write_bytes(np.full((3, 5), np.inf, np.float32).tobytes())
    done = probe("rows", path, 5, 100)
    assert done.returncode == POINTS and b"3 points of 3" in done.stderr
    path.write_bytes(bytes(21))
    assert b"truncated" in probe("rows", path, 5, 100).stderr


@pytest.mark.parametrize("size", [0, 55, 56, 64, 1000])
def test_sha256(probe: Probe, tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(content)
    assert probe("sha256", tmp_path / "file").stdout.decode().strip() == hashlib.sha256(content).hexdigest()


def calibration() -> dict[str, Any]:
    camera = {"camera_from_lidar": POSE.tolist(), "intrinsics": INTRINSICS.tolist(), "width": 640, "height": 480}
    return {"cameras": {"CAM": camera}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, f: c.pop("cameras"), "no 'cameras'"),
        (lambda c, f: c["cameras"]["CAM"].pop("width"), "no 'width'"),
        (lambda c, f: c["cameras"]["CAM"]["camera_from_lidar"][0].__setitem__(0, 1.1), "not a rotation"),
        (lambda c, f: c["cameras"]["CAM"].update(camera_from_lidar=np.diag([1, 1, -1, 1]).tolist()), "not a rotation"),
        (lambda c, f: c["cameras"]["CAM"]["intrinsics"][0].__setitem__(0, -5), "not a camera's matrix"),
        (lambda c, f: c["cameras"]["CAM"].update(distortion={}), "straighten the images before"),
        (lambda c, f: c.update(point_features=1e300), "whole number"),
        (lambda c, f: f.update(cameras={"OTHER": {}}), "not in calibration"),
        (lambda c, f: f.update(timestamp_s="noon"), "finite number"),
        (lambda c, f: f.update(sweeps=[{"file": "a", "timestamp_s": 1}]), "no 'lidar_from_sweep'"),
        (lambda c, f: f.update(global_from_lidar=[[1, 2], [3, 4]]), "4x4"),
    ],
)
def test_a_wrong_calibration_or_description_is_named(
    probe: Probe, tmp_path: Path, change: Callable[..., Any], message: str
) -> None:
    files = tmp_path / "calibration.json", tmp_path / "frame.json"
    contents: tuple[dict[str, Any], dict[str, Any]] = calibration(), {"timestamp_s": 1.0}
    for path, content in zip(files, contents, strict=True):
        path.write_text(json.dumps(content))
    assert probe("frame", *files).returncode == 0
    change(*contents)
    for path, content in zip(files, contents, strict=True):
        path.write_text(json.dumps(content))
    done = probe("frame", *files)
    assert done.returncode == CALIBRATION and message in done.stderr.decode(), done.stderr
    files[0].write_text(files[0].read_text()[:-5])
    assert b"not valid JSON" in probe("frame", *files).stderr
