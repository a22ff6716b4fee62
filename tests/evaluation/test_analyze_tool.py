"""tools/analyze.py: its figures are the devkit's, its page opens in a browser, its complaints name what is wrong."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from browser import Browser
from hand_made_nuscenes import Frame, ground_truth
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval

from perception.evaluation.nuscenes_eval import load_nuscenes
from perception.evaluation.nuscenes_results import NuScenesResults

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "analyze.py"
VERSION = "v1.0-trainval"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("analyze", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def disturbed(frame: Frame, rng: np.random.Generator, noise: float) -> Frame:
    """Ground truth as a middling detector would give it: shifted, some missed, some of another class, some false."""
    kept = rng.random(len(frame.boxes)) < 0.8
    labels = np.where(rng.random(kept.sum()) < 0.1, rng.integers(0, 10, kept.sum()), frame.labels[kept])
    boxes = frame.boxes[kept] + rng.normal(0, noise, (kept.sum(), 1)) * np.eye(9)[0]
    false = rng.normal([0, 0, 0, 4, 2, 1.5, 0, 0, 0], [15, 15, 1, 0, 0, 0, 1, 1, 1], (10, 9)).astype(np.float32)
    return frame._replace(
        boxes=np.concatenate([boxes, false]), labels=np.concatenate([labels, rng.integers(0, 10, 10)])
    )


@pytest.fixture(scope="module")
def runs(tiny_synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Submissions fused, lidar_only and camera_only for the validation scene of the tiny synthetic data set."""
    folder = tmp_path_factory.mktemp("runs")
    nusc = load_nuscenes(tiny_synthetic, VERSION)
    infos = json.loads((tiny_synthetic / "nuscenes_infos_val.json").read_text())
    for seed, (mode, noise) in enumerate({"fused": 0.3, "lidar_only": 0.5, "camera_only": 1.0}.items()):
        rng, results = np.random.default_rng(seed), NuScenesResults()
        for token in (sample["token"] for sample in infos["data_list"]):
            frame = disturbed(ground_truth(nusc, token), rng, noise)
            results.add(token, frame.boxes, rng.random(len(frame.boxes)), frame.labels, frame.global_from_lidar)
        results.write(folder / mode / "results.json")
    return folder


@pytest.fixture(scope="module")
def report(tool: ModuleType, runs: Path, tiny_synthetic: Path) -> Path:
    arguments = [
        str(runs / "fused"),
        str(runs / "camera_only"),
        "--infos",
        str(tiny_synthetic / "nuscenes_infos_val.json"),
    ]
    assert tool.main([*arguments, "--out", str(runs / "out"), "--worst", "2", "--resamples", "100"]) == 0
    return runs / "out" / "report.html"


def test_ap_is_the_devkits(report: Path, runs: Path, tiny_synthetic: Path, tmp_path: Path) -> None:
    content = json.loads((report.parent / "analysis.json").read_text())
    nusc = load_nuscenes(tiny_synthetic, VERSION)
    stock = NuScenesEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        str(runs / "fused" / "results.json"),
        "val",
        str(tmp_path),
        verbose=False,
    )
    expected = stock.evaluate()[0].mean_dist_aps
    assert max(expected.values()) > 0.1
    for name, row in content["classes"].items():
        assert row["AP"] == pytest.approx(expected[name], abs=1e-9)
    assert content["official"]["mAP"] == pytest.approx(np.mean(list(expected.values())))
    assert content["comparisons"][0]["run"] == "camera_only"


def test_the_page_in_a_browser(report: Path, browser: Browser, tmp_path: Path) -> None:
    """On a desk and on a phone: no error, no sideways scrolling of the page, pictures decoded, text of a readable
    size."""
    page = report.read_text()
    assert not re.search(r"(?:src|href)=(?![\"']?data:)|https?://|@import", page)
    for width, phone in ((1280, False), (390, True)):
        browser.errors.clear()
        browser.open(report, width, 800, phone)
        assert browser.errors == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("[...document.querySelectorAll('h2')].length") >= 10
        assert browser.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 13
        decoded = "Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode()))).then(d => d.length)"
        assert browser.evaluate(decoded) == 2
        tables = "[...document.querySelectorAll('.scroll')].every(d => d.clientWidth <= innerWidth)"
        assert browser.evaluate(tables)


def test_contribution(tool: ModuleType, runs: Path, tiny_synthetic: Path, tmp_path: Path, browser: Browser) -> None:
    arguments = ["contribution", str(runs), "--root", str(tiny_synthetic), "--version", VERSION, "--resamples", "100"]
    assert tool.main([*arguments, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "analysis.json").read_text())
    assert (
        content["classes"]["lidar_adds"]["mAP"]["difference"] > content["classes"]["camera_adds"]["mAP"]["difference"]
    )
    browser.open(tmp_path / "report.html", 390, 800, phone=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


def test_bad_input_is_named(
    tool: ModuleType, runs: Path, tiny_synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--root", str(tiny_synthetic), "--version", VERSION, "--out", str(tmp_path / "out")]
    part = json.loads((runs / "fused" / "results.json").read_text())
    part["results"].popitem()
    (tmp_path / "part.json").write_text(json.dumps(part))
    for arguments, message in [
        ([str(tmp_path / "absent.json"), *data], "absent.json"),
        ([str(runs / "fused"), str(tmp_path / "part.json"), *data], "differ in 1 samples"),
        (["contribution", str(tmp_path), *data], "no results of fused, lidar_only, camera_only"),
        ([str(runs / "fused"), "--infos", str(tmp_path / "none.json"), "--out", str(tmp_path / "out")], "no info file"),
    ]:
        assert tool.main(arguments) == 1
        assert message in capsys.readouterr().err
    for arguments in ([str(runs / "fused"), "--out", "x"], [str(runs / "fused"), *data, "--worst", "-1"]):
        with pytest.raises(SystemExit):
            tool.main(arguments)
    assert not (tmp_path / "out").exists()
