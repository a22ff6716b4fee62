"""perception-run against the Python model, on bad input, and on frames that arrive."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.datasets.frame_descriptions import write_folder
from perception.engine.export_drift import counted, drift
from perception.engine.verify_export import load_frames, run_program, verify
from perception.export.manifest import read_manifest

REFERENCE = Path(__file__).with_name("reference.json")
RUNTIME_CODES = {
    "image": "PERCEPTION_ERROR_IMAGE", "size": "PERCEPTION_ERROR_IMAGE_SIZE", "points": "PERCEPTION_ERROR_POINTS",
    "calibration": "PERCEPTION_ERROR_CALIBRATION", "clock": "PERCEPTION_ERROR_CLOCK",
    "gap": "PERCEPTION_ERROR_TIME_GAP", "file": "PERCEPTION_ERROR_FILE",
}  # fmt: skip


@pytest.fixture(scope="module")
def frames(tiny_synthetic: Path) -> list[dict[str, Any]]:
    return load_frames(tiny_synthetic / "nuscenes_infos_val.json")


@pytest.fixture
def folder(tmp_path: Path, exported: Any, frames: list[dict[str, Any]]) -> Path:
    """Three frames in the folder convention; their files are copies, to be damaged."""
    write_folder(tmp_path / "frames", frames, read_manifest(exported.artifact)["cameras"])
    for link in [path for path in (tmp_path / "frames").rglob("*") if path.is_symlink()]:
        target = link.resolve()
        link.unlink()
        shutil.copy(target, link)
    return tmp_path / "frames"


def run(program: Path, *arguments: Any) -> subprocess.CompletedProcess:
    return subprocess.run([str(a) for a in (program, *arguments)], capture_output=True, text=True, check=False)


def test_the_boxes_are_those_of_the_python_model(program: Path, exported: Any, tiny_synthetic: Path) -> None:
    results = verify(*exported, tiny_synthetic / "nuscenes_infos_val.json", program)
    assert len(results) == 7
    for result in results:
        assert result.agrees, result
    assert results[0].boxes[0] > 10


def test_the_boxes_are_those_of_the_committed_reference(program: Path, exported: Any, folder: Path) -> None:
    """Its ratio of speeds is `make replay`'s to check."""
    reference = json.loads(REFERENCE.read_text())
    assert read_manifest(exported.artifact)["model"]["weights_sha256"] == reference["weights_sha256"]
    lines = run_program(program, exported.artifact, folder)
    assert lines.keys() == reference["boxes"].keys()
    for frame, line in lines.items():
        expected, now = reference["boxes"][frame], counted(line["detections"])
        agrees, text = drift(frame, expected, now)
        assert agrees, text
        now[0]["translation"][0] += 0.01
        assert not drift(frame, expected, now)[0]
        assert not drift(frame, expected, now[1:])[0]


def test_the_c_interface_with_every_kind_of_bad_frame(program: Path, exported: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (18, 32, 3), dtype=np.uint8), (320, 180))
    cv2.imwrite(str(tmp_path / "image.jpg"), image)
    done = run(program.with_name("c_interface"), exported.artifact, tmp_path / "image.jpg")
    assert done.returncode == 0, done.stderr


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first(folder: Path, where: str) -> Path:
    return sorted((folder / where).iterdir())[0]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda f: first(f, "CAM_FRONT").write_bytes(first(f, "CAM_FRONT").read_bytes()[:2000]), "image"),
        (lambda f: first(f, "CAM_FRONT").write_bytes(b""), "image"),
        (lambda f: cv2.imwrite(str(first(f, "CAM_BACK")), np.zeros((90, 160, 3), np.uint8)), "size"),
        (lambda f: first(f, "lidar").write_bytes(b"123"), "points"),
        (lambda f: first(f, "lidar").write_bytes(np.full(10, np.nan, np.float32).tobytes()), "points"),
        (lambda f: first(f, "frames").write_text("{"), "calibration"),
        (lambda f: change_json(first(f, "frames"), lambda d: d["sweeps"][0].update(file="gone.bin")), "file"),
        (
            lambda f: change_json(
                first(f, "frames"), lambda d: d["cameras"]["CAM_FRONT"]["camera_from_lidar"][0].__setitem__(0, 2.0)
            ),
            "calibration",
        ),
        (
            lambda f: change_json(
                first(f, "frames"), lambda d: d["cameras"]["CAM_FRONT"].update(timestamp_s=d["timestamp_s"] + 1)
            ),
            "gap",
        ),
    ],
)
def test_a_bad_frame_is_named_and_the_others_are_as_without_it(
    program: Path, exported: Any, folder: Path, damage: Callable[[Path], Any], code: str
) -> None:
    whole = run_program(program, exported.artifact, folder)
    damage(folder)
    done = run(program, exported.artifact, folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    bad = [line for line in lines if "error" in line]
    assert done.returncode == 1 and len(lines) == len(whole) and len(bad) == 1
    assert bad[0]["error"]["code"] == RUNTIME_CODES[code] and bad[0]["error"]["message"]
    for line in lines:
        if "error" not in line:
            assert line["detections"] == whole[line["frame"]]["detections"]


def test_a_clock_that_stands_still_is_refused(program: Path, exported: Any, folder: Path) -> None:
    one, other = sorted((folder / "frames").iterdir())[:2]
    time_s = json.loads(one.read_text())["timestamp_s"]
    change_json(other, lambda d: d.update(timestamp_s=time_s, sweeps=[], cameras={}))
    done = run(program, exported.artifact, folder)
    errors = [line["error"]["code"] for line in map(json.loads, done.stdout.splitlines()) if "error" in line]
    assert errors == [RUNTIME_CODES["clock"]]


def test_artifacts_and_folders_that_do_not_fit_are_refused(
    program: Path, exported: Any, folder: Path, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact"
    shutil.copytree(exported.artifact, artifact)
    model, manifest = artifact / "model.pt2", artifact / "manifest.json"
    good_model, good_manifest = model.read_bytes(), manifest.read_text()

    def refused(code: str, word: str) -> None:
        done = run(program, artifact, folder)
        assert done.returncode == 2 and code in done.stderr and word in done.stderr, done.stderr
        model.write_bytes(good_model)
        manifest.write_text(good_manifest)

    model.write_bytes(good_model[:1000] + bytes([good_model[1000] ^ 1]) + good_model[1001:])
    refused("PERCEPTION_ERROR_ARTIFACT", "damaged")
    model.write_bytes(good_model[:-100])
    refused("PERCEPTION_ERROR_ARTIFACT", "damaged")
    model.unlink()
    refused("PERCEPTION_ERROR_FILE", "model.pt2")
    manifest.write_text(good_manifest[:-10])
    refused("PERCEPTION_ERROR_MANIFEST", "not valid JSON")
    change_json(manifest, lambda m: m.update(format_version=2))
    refused("PERCEPTION_ERROR_MANIFEST", "format version 2")
    change_json(manifest, lambda m: m["artifact"].update(sha256="0" * 64))
    refused("PERCEPTION_ERROR_ARTIFACT", "another model")
    change_json(manifest, lambda m: m["preprocessing"].update(images=None))
    refused("PERCEPTION_ERROR_MANIFEST", "cameras")
    change_json(manifest, lambda m: m["preprocessing"]["images"].update(size_hw=[16, 16]))
    refused("PERCEPTION_ERROR_MANIFEST", "input images: its shape")
    change_json(manifest, lambda m: m["limits"].update(max_points=10**7))
    refused("PERCEPTION_ERROR_MANIFEST", "input points: its shape")
    change_json(manifest, lambda m: m["inputs"].reverse())
    refused("PERCEPTION_ERROR_MANIFEST", "'inputs'")
    change_json(manifest, lambda m: m["classes"].pop(0))
    refused("PERCEPTION_ERROR_MANIFEST", "'attributes'")
    change_json(folder / "calibration.json", lambda c: c["cameras"].pop("CAM_FRONT"))
    refused("PERCEPTION_ERROR_CAMERAS", "CAM_FRONT")


def test_boxes_of_a_class_that_the_manifest_does_not_have_are_an_error(
    program: Path, exported: Any, folder: Path, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact"
    shutil.copytree(exported.artifact, artifact)

    def keep_one_class(manifest: dict[str, Any]) -> None:
        manifest["classes"] = manifest["classes"][:1]
        attributes = manifest["postprocessing"]["attributes"]
        manifest["postprocessing"]["attributes"] = {name: attributes[name] for name in manifest["classes"]}

    change_json(artifact / "manifest.json", keep_one_class)
    done = run(program, artifact, folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and len(lines) == 3
    assert all(line["error"]["code"] == "PERCEPTION_ERROR_NETWORK" for line in lines), lines


def test_benchmark_prints_every_stage_and_memory_that_does_not_grow(program: Path, exported: Any, folder: Path) -> None:
    done = run(program, exported.artifact, folder, "--benchmark", "--frames", 110, "--threads", 1)
    assert done.returncode == 0, done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert table["ms"] == ["p50", "p99", "p99.9", "max"]
    for stage in ("read", "points", "images", "network", "total"):
        values = [float(v) for v in table[stage]]
        assert values == sorted(values) and values[-1] > 0
    assert "110 frames" in done.stdout
    after_ten, *_, at_the_end = (float(mib) for mib in re.findall(r"([\d.]+) MiB", done.stdout))
    assert at_the_end < 1.005 * after_ten, done.stdout


def test_results_that_cannot_be_written_end_the_run(program: Path, exported: Any, folder: Path) -> None:
    done = run(program, exported.artifact, folder, "--out", "/dev/full")
    assert done.returncode == 2 and "PERCEPTION_ERROR_FILE" in done.stderr and "disk" in done.stderr


def test_a_signal_ends_a_folder_with_a_summary(program: Path, exported: Any, folder: Path) -> None:
    command = [str(program), str(exported.artifact), str(folder), "--frames", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline()]
        process.terminate()
        lines += process.stdout.readlines()
        assert f"{len(lines)} frames, 0 with errors" in process.stderr.read()
    assert process.returncode == 0


def test_watch_ends_after_as_many_frames_as_asked_for(program: Path, exported: Any, folder: Path) -> None:
    description = first(folder, "frames").read_text()
    command = [str(program), str(exported.artifact), "--watch", str(folder), "--frames", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and process.stdout is not None
        assert "watching" in process.stderr.readline()
        (folder / "frames" / ".next.part").write_text(description)
        (folder / "frames" / ".next.part").rename(folder / "frames" / "next.json")
        assert len(process.stdout.readlines()) == 1
        assert "1 frames, 0 with errors, 0 dropped" in process.stderr.read()
    assert process.returncode == 0


def test_watch_takes_the_newest_and_counts_the_rest(program: Path, exported: Any, folder: Path, tmp_path: Path) -> None:
    """Many frames are announced at once: the last is among those that are done, and none goes uncounted."""
    announced, count = folder / "frames", 30
    description = json.loads(first(folder, "frames").read_text())
    for path in announced.iterdir():
        path.unlink()
    out = tmp_path / "out.jsonl"
    command = [str(program), str(exported.artifact), "--watch", str(folder), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and "watching" in process.stderr.readline()
        for i in range(count):
            content = {"timestamp_s": description["timestamp_s"] + 0.1 * i}
            (announced / f".{i:03}.part").write_text(json.dumps(content))
            (announced / f".{i:03}.part").rename(announced / f"{i:03}.json")
        deadline = time.monotonic() + 60
        while not (out.is_file() and f'"{count - 1:03}"' in out.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.terminate()
        summary = process.stderr.read()
    done = [json.loads(line)["frame"] for line in out.read_text().splitlines()]
    assert done[-1] == f"{count - 1:03}" and done == sorted(done), summary
    assert f"{len(done)} frames, 0 with errors, {count - len(done)} dropped" in summary
    assert process.returncode == 0
