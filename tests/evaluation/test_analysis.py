"""Slices, calibration, comparison and contribution against plain counting and known distributions."""

import json

import numpy as np
import pytest
from made_up_runs import made_up_run

from perception.evaluation.analysis import analyse
from perception.evaluation.calibration import reliability
from perception.evaluation.comparison import difference
from perception.evaluation.contribution import OUTCOMES, contribution
from perception.evaluation.frame_errors import RIGHT, frame_errors
from perception.evaluation.matching import NOTHING, class_ap, match_all
from perception.evaluation.slices import axes, slice_scores


def test_slices_divide_the_objects_and_recall_counts_them() -> None:
    boxes = made_up_run(1)
    matches = match_all(boxes)
    errors = frame_errors(boxes, matches)
    found = np.isin(np.arange(len(boxes.truth)), matches.pairs[matches.pairs != NOTHING])
    for axis in axes(boxes):
        rows = slice_scores(boxes, matches, errors, axis)
        assert sum(row["objects"] for row in rows) == len(boxes.truth)
        for index, row in enumerate(rows):
            inside = axis.truth == index
            assert sum(entry["objects"] for entry in row["classes"].values()) == row["objects"] == inside.sum()
            if inside.any():
                assert row["recall"] == pytest.approx(found[inside].mean())
                assert row["recall_shown"] == pytest.approx((errors.truth[inside] == RIGHT).mean())
            assert (row["mAP"] is None) == (axis.found is None or not inside.any())


def test_bins_have_their_edges() -> None:
    boxes = made_up_run(1)
    by_name = {axis.name: axis for axis in axes(boxes)}
    assert by_name["points"].bins == ["1–4", "5–19", "20–99", "≥ 100"]
    distance = by_name["distance"]
    near = distance.truth == distance.bins.index("10–20 m")
    assert np.array_equal(near, (boxes.truth.distance_m >= 10) & (boxes.truth.distance_m < 20))
    assert by_name["weather"].bins == ["day", "rain"]
    assert by_name["visibility"].bins == ["0-40 %", "80-100 %"]


def test_reliability_of_honest_and_of_boastful_scores() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(200_000)
    honest = reliability(score, rng.random(len(score)) < score)
    assert honest["ECE"] < 0.01
    np.testing.assert_allclose(honest["precision"], honest["score"], atol=0.02)
    boastful = reliability(score, rng.random(len(score)) < score / 2)
    assert boastful["ECE"] == pytest.approx(0.25, abs=0.01)
    assert reliability(np.zeros(0), np.zeros(0, bool))["ECE"] is None
    assert sum(reliability(np.array([0.0, 1.0]), np.array([False, True]))["count"]) == 2


def test_the_interval_covers_no_difference_and_finds_a_real_one() -> None:
    first, twin, worse = made_up_run(1), made_up_run(2), made_up_run(3, noise_m=1.5)
    none = difference((first, match_all(first)), (first, match_all(first)), resamples=200)
    assert none["mAP"]["difference"] == none["mAP"]["low"] == none["mAP"]["high"] == 0.0
    chance = difference((first, match_all(first)), (twin, match_all(twin)), resamples=300)["mAP"]
    assert chance["low"] < 0 < chance["high"]
    real = difference((first, match_all(first)), (worse, match_all(worse)), resamples=300)["mAP"]
    assert real["low"] < real["difference"] < real["high"] < 0
    forward = difference((worse, match_all(worse)), (first, match_all(first)), resamples=300)["mAP"]
    assert forward["low"] == pytest.approx(-real["high"], abs=1e-12)


def test_resampling_equals_scoring_a_data_set_with_scenes_repeated() -> None:
    """A draw's AP, computed from counts per scene, against `class_ap` on boxes that are really there twice."""
    import dataclasses

    from made_up_runs import table

    from perception.evaluation.comparison import _resampled_ap

    boxes = made_up_run(6)
    matches = match_all(boxes)
    scene = np.array([int(name.split("-")[1]) for name in boxes.scenes])
    draws = np.array([[2.0, 0, 1, 1, 0, 2]])
    copies = np.repeat(np.arange(6), draws[0].astype(int))

    def repeated(boxes_table):
        rows = [np.flatnonzero(scene[boxes_table.sample] == s) for s in copies]
        frames = np.concatenate([boxes_table.sample[r] + 100 * k for k, r in enumerate(rows)])
        rows = np.concatenate(rows)
        return table(frames, *(getattr(boxes_table, f)[rows] for f in ("label", "centre", "score")))

    big = dataclasses.replace(boxes, truth=repeated(boxes.truth), found=repeated(boxes.found))
    expected = class_ap(big, match_all(big), 0, np.ones(len(big.truth), bool), np.ones(len(big.found), bool))
    everything = np.ones(len(boxes.truth), bool), np.ones(len(boxes.found), bool)
    drawn = _resampled_ap(boxes, matches, 0, *everything, scene, draws)
    assert drawn[0] == pytest.approx(expected, abs=5e-3)  # equal scores of copies stand in another order


def test_only_runs_on_the_same_frames_compare() -> None:
    with pytest.raises(ValueError, match="run and other differ in 2 samples"):
        analyse([made_up_run(1), made_up_run(1, frames=10, name="other")], resamples=100)


def test_worst_frames_come_first_and_the_analysis_is_json() -> None:
    boxes = made_up_run(1)
    content = analyse([boxes, made_up_run(2, name="other")], worst=12, resamples=100)
    wrong = [row["missed"] + row["false"] + row["wrong class"] for row in content["worst"]]
    assert wrong == sorted(wrong, reverse=True)
    assert sum(row["right"] + row["missed"] + row["wrong class"] for row in content["worst"]) == len(boxes.truth)
    assert json.loads(json.dumps(content))["comparisons"][0]["run"] == "other"


def test_outcomes_are_counted_object_by_object() -> None:
    runs = {"fused": made_up_run(1, 0.2), "lidar_only": made_up_run(2, 0.4), "camera_only": made_up_run(3, 1.0)}
    gains = contribution(runs, resamples=100)
    found = {mode: frame_errors(run, match_all(run)).truth == RIGHT for mode, run in runs.items()}
    for label, name in enumerate(["car", "pedestrian"]):
        mine = runs["fused"].truth.label == label
        together = found["fused"] & ~found["lidar_only"] & ~found["camera_only"] & mine
        assert gains["outcomes"][name]["only both together"] == together.sum() > 0
        assert sum(gains["outcomes"][name].values()) == mine.sum()
    assert set(gains["outcomes"]["car"]) == set(OUTCOMES.values())
    by_distance = [row["camera_adds"].get("car", {"objects": 0})["objects"] for row in gains["distance"]]
    assert sum(by_distance) == gains["classes"]["camera_adds"]["car"]["objects"]
    with pytest.raises(KeyError, match="lidar_only"):
        contribution({"fused": runs["fused"]})
