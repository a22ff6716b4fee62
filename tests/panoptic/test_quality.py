"""Panoptic quality by hand, and against COCO's own panopticapi where that is installed."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.panoptic.files import categories, segments_info, write_segments
from perception.panoptic.quality import PanopticQuality

CATEGORIES = {row["id"]: row for row in categories()}
CAR, GROUND = 1, 11


def score(truth: np.ndarray, true_of: dict[int, int], found: np.ndarray, found_of: dict[int, int]) -> dict[str, Any]:
    quality = PanopticQuality(CATEGORIES)
    quality.add(truth, segments_info(truth, true_of), found, found_of)
    return quality.summary()


def test_by_hand() -> None:
    truth = np.repeat([[1] * 8 + [2] * 4 + [0] * 8], 5, axis=0)  # a car of 40 px, ground of 20, the rest void
    truth_of = {1: CAR, 2: GROUND}
    perfect = score(truth, truth_of, truth, truth_of)
    assert perfect["PQ"] == perfect["PQ_things"] == perfect["PQ_stuff"] == 1.0
    assert perfect["PQ_per_class"]["truck"] is None
    # 30 of the car's 40 px, and 10 of void that do not count; ground is not found.
    found = np.repeat([[7] * 6 + [0] * 12 + [7] * 2], 5, axis=0)
    part = score(truth, truth_of, found, {7: CAR})
    assert part["PQ_per_class"]["car"] == pytest.approx(30 / 40)
    assert part["PQ_per_class"]["ground"] == 0.0 and part["PQ"] == pytest.approx(3 / 8)
    # Half of the car is no match: one false, one missed. What lies in void alone is neither.
    half = np.repeat([[7] * 4 + [0] * 8 + [8] * 8], 5, axis=0)
    assert score(truth, truth_of, half, {7: CAR, 8: CAR})["PQ_per_class"]["car"] == 0.0
    # Two found in one car: the larger half matches where it shares more than half, the other is false.
    two = np.repeat([[7] * 6 + [8] * 2 + [0] * 12], 5, axis=0)
    assert score(truth, truth_of, two, {7: CAR, 8: CAR})["PQ_per_class"]["car"] == pytest.approx(0.75 / 1.5)


def random_scene(rng: np.random.Generator, numbers: int) -> tuple[np.ndarray, dict[int, int]]:
    """Blocky segments; some pixels void."""
    blocks = rng.integers(0, numbers, (6, 8))
    segment = np.kron(blocks, np.ones((5, 4), dtype=np.int64)) * 300  # beyond one byte
    return segment, {300 * k: int(rng.integers(1, 14)) for k in range(1, numbers)}


@pytest.mark.skipif(importlib.util.find_spec("panopticapi") is None, reason="COCO's panopticapi is not installed")
def test_equals_panopticapi(tmp_path: Path) -> None:
    from panopticapi.evaluation import pq_compute_single_core

    rng = np.random.default_rng(0)
    quality, pairs = PanopticQuality(CATEGORIES), []
    for number in range(40):
        truth, truth_of = random_scene(rng, 7)
        found, found_of = random_scene(rng, 7)
        keep = rng.random(truth.shape) < 0.8
        found = np.where(keep, truth, found)  # alike enough to match now and then
        found_of = {k: truth_of[k] if rng.random() < 0.8 else v for k, v in found_of.items()}
        rows = segments_info(truth, truth_of)
        for row in rows:
            row["iscrowd"] = int(rng.random() < 0.2)
        entries = []
        for name, segment, info in (("true", truth, rows), ("found", found, segments_info(found, found_of))):
            (tmp_path / name).mkdir(exist_ok=True)
            write_segments(tmp_path / name / f"{number}.png", segment)
            entries.append({"image_id": number, "file_name": f"{number}.png", "segments_info": info})
        quality.add(truth, rows, found, {k: v for k, v in found_of.items() if (found == k).any()})
        pairs.append(json.loads(json.dumps(entries)))
    theirs = pq_compute_single_core(0, pairs, str(tmp_path / "true"), str(tmp_path / "found"), CATEGORIES)
    ours = quality.summary()
    for name, isthing in (("PQ", None), ("PQ_things", True), ("PQ_stuff", False)):
        average, per_class = theirs.pq_average(CATEGORIES, isthing=isthing)
        assert ours[name] == pytest.approx(average["pq"], abs=1e-12) and 0.1 < ours[name] < 0.9
        if isthing is None:
            assert (ours["SQ"], ours["RQ"]) == pytest.approx((average["sq"], average["rq"]), abs=1e-12)
            for number, row in per_class.items():
                assert (ours["PQ_per_class"][CATEGORIES[number]["name"]] or 0.0) == pytest.approx(row["pq"], abs=1e-12)
