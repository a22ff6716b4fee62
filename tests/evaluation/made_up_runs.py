"""Runs without a dataroot: objects and detections at random places, as `ScoredBoxes`."""

import numpy as np

from perception.evaluation.scored_boxes import BoxTable, ScoredBoxes

CLASSES = ["car", "pedestrian", "bus"]


def table(sample: np.ndarray, label: np.ndarray, centre: np.ndarray, score: np.ndarray) -> BoxTable:
    length = np.array([4.5, 0.7, 11.0])[label]
    return BoxTable(sample, label, centre, np.linalg.norm(centre, axis=1), length, score, rows=[])


def made_up_run(
    seed: int, noise_m: float = 0.5, frames: int = 12, objects: int = 200, name: str = "run"
) -> ScoredBoxes:
    """Objects by the seed 0; the seed and the noise are of the detections, of which a third are false."""
    rng = np.random.default_rng(0)
    sample, label = np.sort(rng.integers(0, frames, objects)), rng.integers(0, 2, objects)
    centre = rng.uniform(-40, 40, (objects, 2))
    truth = table(sample, label, centre, np.full(objects, -1.0))
    visibility, points = rng.choice(["v0-40", "v80-100"], objects), rng.integers(1, 200, objects)

    rng = np.random.default_rng(seed)
    hits = rng.random(objects) < 0.8
    false = int(hits.sum()) // 2
    found_sample = np.concatenate([sample[hits], rng.integers(0, frames, false)])
    found_label = np.concatenate([label[hits], rng.integers(0, 3, false)])
    found_centre = np.concatenate(
        [centre[hits] + rng.normal(0, noise_m, (hits.sum(), 2)), rng.uniform(-40, 40, (false, 2))]
    )
    # Scores of two digits: ties, as quantised models give them.
    score = np.round(np.concatenate([rng.beta(4, 2, hits.sum()), rng.beta(2, 4, false)]), 2)
    found = table(found_sample, found_label, found_centre, score)
    return ScoredBoxes(
        name=name,
        classes=CLASSES,
        tokens=[f"t{i}" for i in range(frames)],
        scenes=[f"scene-{i // 2}" for i in range(frames)],
        weather=["day" if i % 4 < 2 else "rain" for i in range(frames)],
        truth=truth,
        found=found,
        visibility=visibility,
        points=points,
        official={"NDS": 0.5, "mAP": 0.5},
    )
