"""Scores against the stock evaluation of the devkit, and what the stock one refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from hand_made_nuscenes import Frame, ground_truth, write_tables
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.constants import DETECTION_NAMES
from nuscenes.eval.detection.evaluate import NuScenesEval

from perception.evaluation.nuscenes_eval import evaluate_results, load_nuscenes, sample_tokens
from perception.evaluation.nuscenes_results import NuScenesResults

VERSION = "v1.0-mini"


def submit(frames: list[Frame], path: Path, seed: int | None = None) -> Path:
    """Ground truth as predictions; with a seed, disturbed, scored at random and with false ones added."""
    results = NuScenesResults()
    rng = np.random.default_rng(seed)
    for frame in frames:
        boxes, labels, attributes = frame.boxes, frame.labels, frame.attributes
        scores = np.linspace(1.0, 0.9, len(boxes))
        if seed is not None:
            false = rng.normal([0, 0, 0, 4, 2, 1.5, 0, 0, 0], [15, 15, 1, 0, 0, 0, 1, 1, 1], (20, 9))
            boxes = np.concatenate([boxes + rng.normal(0, 0.1, boxes.shape), false])
            boxes[:, 3:6] = np.abs(boxes[:, 3:6]) + 0.1
            labels = np.concatenate([labels, rng.integers(0, 10, 20)])
            attributes = np.concatenate([attributes, np.full(20, -1)])
            scores = rng.random(len(boxes))
        results.add(frame.token, boxes, scores, labels, frame.global_from_lidar, attributes)
    return results.write(path)


def stock(nusc: NuScenes, path: Path, split: str, out: Path) -> NuScenesEval:
    return NuScenesEval(nusc, config_factory("detection_cvpr_2019"), str(path), split, str(out), verbose=False)


def tokens(root: Path, split: str) -> list[str]:
    return sample_tokens(load_nuscenes(root, VERSION), split)


def frames_of(root: Path, split: str) -> list[Frame]:
    return [ground_truth(load_nuscenes(root, VERSION), token) for token in tokens(root, split)]


def test_ground_truth_of_the_real_frame(real_frame: Frame, one_frame_root: Path, tmp_path: Path) -> None:
    path = submit([real_frame], tmp_path / "results.json")
    scores = evaluate_results(path, one_frame_root, VERSION, "mini_train")
    assert scores["present"] == {"car": 4, "truck": 2, "pedestrian": 10, "barrier": 14, "traffic_cone": 3}
    assert scores["mAP_present"] >= 0.98
    for name in scores["present"]:
        assert scores["TP"][name]["ATE"] < 1e-3
        assert scores["TP"][name]["ASE"] < 1e-3
        assert (scores["TP"][name]["AOE"] or 0) < 1e-2
    assert scores["TP"]["car"]["AAE"] == 0
    assert scores["mAVE"] == 1  # the frame has no velocities
    assert scores["scored"] == {"samples": 1, "split": "mini_train", "samples_in_split": 1, "restricted": False}


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_equals_the_stock_evaluation(tables_root: Path, tmp_path: Path, seed: int | None) -> None:
    path = submit(frames_of(tables_root, "mini_train"), tmp_path / "results.json", seed)
    scores = evaluate_results(path, tables_root, VERSION, "mini_train", tmp_path / "scores.json")
    metrics, curves = stock(load_nuscenes(tables_root, VERSION), path, "mini_train", tmp_path / "stock").evaluate()
    expected = json.loads(json.dumps(metrics.serialize()))
    assert scores["NDS"] == expected["nd_score"]
    assert scores["mAP"] == expected["mean_ap"]
    assert scores["AP"] == expected["mean_dist_aps"]
    assert scores["AP_per_distance"] == expected["label_aps"]
    errors = {"mATE": "trans_err", "mASE": "scale_err", "mAOE": "orient_err", "mAVE": "vel_err", "mAAE": "attr_err"}
    assert {key: scores[key] for key in errors} == {key: expected["tp_errors"][name] for key, name in errors.items()}
    assert scores["TP"]["car"]["AVE"] == expected["label_tp_errors"]["car"]["vel_err"]
    assert scores["TP"]["traffic_cone"]["AVE"] is None
    np.testing.assert_allclose(scores["curves"]["precision"]["car"]["1.0"], curves[("car", 1.0)].precision, atol=1e-4)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written == json.loads(json.dumps(scores))
    if seed is None:  # ground truth as predictions, velocities and attributes too
        assert scores["mAP_present"] == pytest.approx(1.0)
        assert scores["TP"]["car"]["AVE"] < 0.1
        assert scores["TP"]["car"]["AAE"] == 0


def test_a_subset_is_scored_as_such_and_says_so(tables_root: Path, tmp_path: Path) -> None:
    frames = frames_of(tables_root, "mini_train")
    assert len(frames) == 3
    part = submit(frames[:2], tmp_path / "part.json")
    with pytest.raises(AssertionError, match="Samples in split"):
        stock(load_nuscenes(tables_root, VERSION), part, "mini_train", tmp_path)
    scores = evaluate_results(part, tables_root, VERSION, "mini_train")
    assert scores["scored"] == {"samples": 2, "split": "mini_train", "samples_in_split": 3, "restricted": True}
    assert scores["present"] == {"car": 4, "pedestrian": 2, "barrier": 2}
    both = submit(frames + frames_of(tables_root, "mini_val"), tmp_path / "both.json")
    assert evaluate_results(both, tables_root, VERSION)["present"]["car"] == 10


def test_a_dataroot_may_name_its_own_splits(tmp_path: Path) -> None:
    root = write_tables(tmp_path)
    (root / VERSION / "splits.json").write_text('{"val": ["scene-0061"]}')  # officially a scene of train
    assert tokens(root, "val") == ["scene-0061-0", "scene-0061-1", "scene-0061-2"]


def test_no_detection_at_all(tables_root: Path, tmp_path: Path) -> None:
    results = NuScenesResults()
    for token in tokens(tables_root, "mini_val"):
        results.add(token, np.zeros((0, 9)), np.zeros(0), np.zeros(0, int), np.eye(4))
    scores = evaluate_results(results.write(tmp_path / "r.json"), tables_root, VERSION, "mini_val", tmp_path / "s.json")
    assert (scores["NDS"], scores["mAP"], scores["mAP_present"], scores["mATE"]) == (0.0, 0.0, 0.0, 1.0)
    assert scores["present"] == {"car": 4, "pedestrian": 2, "barrier": 2}
    assert set(scores["AP"]) == set(DETECTION_NAMES)


def test_one_sample_without_detections(tables_root: Path, tmp_path: Path) -> None:
    frames = frames_of(tables_root, "mini_val")
    nothing = Frame(frames[1].token, np.zeros((0, 9)), np.zeros(0, int), np.zeros(0, int), np.eye(4))
    scores = evaluate_results(submit([frames[0], nothing], tmp_path / "r.json"), tables_root, VERSION, "mini_val")
    assert 0.3 < scores["AP"]["car"] < 0.5  # half of the recall range, less the 10 % that the official AP leaves out


def test_refusals(tables_root: Path, tmp_path: Path) -> None:
    good = submit(frames_of(tables_root, "mini_val"), tmp_path / "good.json")
    with pytest.raises(FileNotFoundError, match=r"no submission file .*absent\.json"):
        evaluate_results(tmp_path / "absent.json", tables_root, VERSION)
    with pytest.raises(FileNotFoundError, match=r"it has v1\.0-mini"):
        evaluate_results(good, tables_root, "v1.0-trainval")
    with pytest.raises(FileNotFoundError, match="no version"):
        evaluate_results(good, tmp_path, VERSION)
    with pytest.raises(ValueError, match="2 of its 2 samples are not in split mini_train"):
        evaluate_results(good, tables_root, VERSION, "mini_train")
    with pytest.raises(ValueError, match="no split 'miny_train'"):
        evaluate_results(good, tables_root, VERSION, "miny_train")
    for text, message in [("{", "is not JSON"), ('{"results": {}}', "no nuScenes submission")]:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            evaluate_results(tmp_path / "bad.json", tables_root, VERSION)
    (tmp_path / "bad.json").write_text('{"meta": {}, "results": {}}')
    with pytest.raises(ValueError, match="has no samples"):
        evaluate_results(tmp_path / "bad.json", tables_root, VERSION)
    (tmp_path / "root" / VERSION).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="lacks 13 of 13 tables"):
        load_nuscenes(tmp_path / "root", VERSION)


def test_tables_are_loaded_once(tables_root: Path) -> None:
    assert load_nuscenes(tables_root, VERSION) is load_nuscenes(str(tables_root), VERSION)
