"""Two runs on the same frames: the difference of their AP and how sure it is, by a paired bootstrap over scenes.

Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile interval). Frames of one scene
show the same objects, so whole scenes are drawn, with replacement, and both runs are scored on the same draw.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.evaluation.matching import Matches, class_ap, counted_hits, descending, interpolated_ap
from perception.evaluation.scored_boxes import ScoredBoxes

RESAMPLES = 500
# A class with more detections is summed over so many steps of score: the interval does not feel it, the time does.
_MAX_STEPS = 500

Run = tuple[ScoredBoxes, Matches]


def check_same_frames(runs: Sequence[ScoredBoxes]) -> None:
    """Raises ValueError where runs were not made on the same samples."""
    for run in runs[1:]:
        if run.tokens != runs[0].tokens:
            missing = len(set(runs[0].tokens) ^ set(run.tokens))
            raise ValueError(
                f"runs {runs[0].name} and {run.name} differ in {missing} samples: only runs on the same ones compare"
            )


def difference(
    first: Run,
    second: Run,
    objects: np.ndarray | None = None,
    detections: tuple[np.ndarray, np.ndarray] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """AP of the second run minus that of the first, by class with ground truth and "mAP" over those.

    objects [G] bool and, for each run, detections [D] bool restrict both as in `class_ap`. Each entry is {objects,
    first, second, difference, low, high}: the 95 % interval of the difference, None where all objects are in one scene.
    """
    check_same_frames([first[0], second[0]])
    boxes = first[0]
    chosen = np.ones(len(boxes.truth), bool) if objects is None else objects
    allowed = detections or (np.ones(len(first[0].found), bool), np.ones(len(second[0].found), bool))
    scene_names = list(dict.fromkeys(boxes.scenes))
    scene = np.array([scene_names.index(name) for name in boxes.scenes], np.int64)
    draws = _draws(len(scene_names), resamples, seed)
    labels = [label for label in boxes.present if (chosen & (boxes.truth.label == label)).any()]

    point = np.zeros((2, len(labels)))
    drawn = np.zeros((2, resamples, len(labels)))
    for side, ((run, matches), rows) in enumerate(zip((first, second), allowed, strict=True)):
        for column, label in enumerate(labels):
            point[side, column] = class_ap(run, matches, label, chosen, rows)
            drawn[side, :, column] = _resampled_ap(run, matches, label, chosen, rows, scene, draws)

    table = {}
    for column, label in enumerate(labels):
        mine = chosen & (boxes.truth.label == label)
        spread = len(set(scene[boxes.truth.sample[mine]].tolist())) > 1
        gap = drawn[1, :, column] - drawn[0, :, column]
        table[boxes.classes[label]] = _entry(int(mine.sum()), point[:, column], gap, spread)
    if labels:
        # A draw may lack a class altogether; its mean is then over the others, in both runs alike.
        gap = np.nanmean(drawn[1], axis=1) - np.nanmean(drawn[0], axis=1)
        table["mAP"] = _entry(int(chosen.sum()), point.mean(axis=1), gap, len(scene_names) > 1)
    return table


def _entry(objects: int, point: np.ndarray, gap: np.ndarray, spread: bool) -> dict[str, Any]:
    first, second = point
    low, high = np.nanpercentile(gap, (2.5, 97.5)) if spread else (None, None)
    return {
        "objects": objects,
        "first": float(first),
        "second": float(second),
        "difference": float(second - first),
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }


def _draws(scenes: int, resamples: int, seed: int) -> np.ndarray:
    """[B,S] how often each scene is in each draw; none is drawn from a single scene, which would always be itself."""
    return np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), resamples).astype(np.float64)


def _resampled_ap(
    boxes: ScoredBoxes,
    matches: Matches,
    label: int,
    objects: np.ndarray,
    detections: np.ndarray,
    scene: np.ndarray,
    draws: np.ndarray,
) -> np.ndarray:
    """[B] AP of a class, mean over the official distances, in each draw; NaN where the draw has no such object."""
    scenes = draws.shape[1]
    chosen = objects & (boxes.truth.label == label)
    positives = draws @ np.bincount(scene[boxes.truth.sample[chosen]], minlength=scenes)
    of_class = np.flatnonzero(boxes.found.label == label)
    order = of_class[descending(boxes.found.score[of_class])]
    steps = min(len(order), _MAX_STEPS)
    total = np.zeros(len(draws))
    for pairs in matches.by_distance.values():
        hit, counted = counted_hits(pairs[order], chosen, detections[order])
        rows = order[counted]
        if len(rows):
            place = np.arange(len(rows)) * steps // len(rows)
            cell = scene[boxes.found.sample[rows]] * steps + place
            counts = np.bincount(cell, minlength=scenes * steps).reshape(scenes, steps)
            hits = np.bincount(cell, hit[counted], scenes * steps).reshape(scenes, steps)
            true, seen = np.cumsum(draws @ hits, axis=1), np.cumsum(draws @ counts, axis=1)
            for b in np.flatnonzero(positives > 0):
                begun = seen[b] > 0
                if true[b, -1]:
                    total[b] += interpolated_ap(true[b, begun] / positives[b], true[b, begun] / seen[b, begun])
    return np.where(positives > 0, total / len(matches.by_distance), np.nan)
