"""The report: complete, well-formed, self-contained."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.visualization.frame_picture import write_png
from perception.visualization.report import read_scalars, write_report


def scores(quality: float) -> dict[str, Any]:
    """As evaluate_results returns them, for two classes with ground truth."""
    names = ["car", "traffic_cone", "bus"]
    ramp = np.linspace(1, 0, 101).tolist()
    return {
        "NDS": quality,
        "mAP": quality / 2,
        "mAP_present": quality,
        "mATE": 1 - quality,
        "mASE": 0.3,
        "mAOE": 0.4,
        "mAVE": 0.5,
        "mAAE": 0.6,
        "present": {"car": 12, "traffic_cone": 7},
        "AP": dict(zip(names, [quality, quality / 3, 0.0], strict=True)),
        "TP": {n: {"ATE": 0.123, "ASE": 0.2, "AOE": None, "AVE": None, "AAE": None} for n in names},
        "curves": {"recall": ramp[::-1], "precision": {n: {"0.5": ramp, "2.0": ramp} for n in names[:2]}},
        "scored": {"samples": 8, "split": "val", "samples_in_split": 8, "restricted": False},
    }


class Tags(HTMLParser):
    """Checks that tags close in the order in which they open, and collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(page: str) -> list[str]:
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    return tags.text


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    rows = [{"loss": 60 / (i + 1), "loss_box": 1.0, "lr": 1e-3, "time": 0.1, "step": i} for i in range(100)]
    (tmp_path / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    picture = np.random.default_rng(0).integers(0, 255, (80, 2000, 3), np.uint8)
    return {
        "title": "Fused & tried <on> val",
        "facts": {"configuration": "configs/demo_fusion.py"},
        "stages_s": {"train": 500.0, "evaluate": 20.5},
        "scalars": [tmp_path / "scalars.json"],
        "frames": [write_png(tmp_path / "frame-7.png", picture)],
    }


def test_everything_is_in_the_page_and_nothing_is_outside_it(tmp_path: Path, inputs: dict[str, Any]) -> None:
    results = {"fused": scores(0.61), "lidar_only": scores(0.42), "camera_only": scores(0.17)}
    page = write_report(tmp_path / "out" / "report.html", results, **inputs).read_text()
    text = parse(page)
    expected = {"Fused", "LiDAR only", "Camera only", "0.610", "0.420", "0.170", "traffic cone", "0.123", "520.5 s"}
    assert expected | {"configs/demo_fusion.py", "frame-7", "loss_box", "lr"} <= set(text)
    assert "Fused & tried <on> val" in text
    assert "<script" not in page
    sources = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"' )>]{0,30})", page)
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?://|@import", page)


def test_the_best_of_each_column_is_marked(tmp_path: Path) -> None:
    page = write_report(tmp_path / "r.html", {"fused": scores(0.3), "lidar_only": scores(0.5)}).read_text()
    rows = re.findall(r"<tr>(?:(?!</tr>).)*</tr>", page)[1:3]
    # NDS, mAP, mAP present and mATE differ; the other four are equal and best in both rows.
    assert [row.count("<b>") for row in rows] == [4, 8]
    assert "<td>0.300</td>" in rows[0]
    assert "<td><b>0.500</b></td>" in rows[1]


def test_a_part_of_a_split_is_called_one(tmp_path: Path) -> None:
    part = scores(0.5)
    part["scored"] = {"samples": 3, "split": "val", "samples_in_split": 8, "restricted": True}
    page = write_report(tmp_path / "r.html", {"fused": part}).read_text()
    assert "score of 3 samples of split val, which has 8: this is a score of a part" in page


def test_little_input_gives_a_small_page(tmp_path: Path) -> None:
    page = write_report(tmp_path / "r.html", {"night drive": {"NDS": 0.5, "mAP": None}}).read_text()
    assert "night drive" in parse(page)
    assert "<h2>Training" not in page
    with pytest.raises(ValueError, match="at least one mode"):
        write_report(tmp_path / "r.html", {})
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        write_report(tmp_path / "r.html", {"fused": scores(0.5)}, frames=[tmp_path / "absent.png"])
    assert (tmp_path / "r.html").read_text() == page


def test_scalars_of_a_resumed_and_killed_run(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text('{"loss": 3.0, "step": 1}\n{"loss": 2.0, "step": 2}\n{"loss": NaN, "step": 3}\n')
    second.write_text('{"loss": 1.5, "step": 3, "name": "x"}\n{"loss": 1.0, "st')
    assert read_scalars([first, second])["loss"] == [(1, 3.0), (2, 2.0), (3, 1.5)]
