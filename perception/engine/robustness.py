"""What is left of a score when sensors are missing, spoilt, wrongly mounted or late: one matrix, one command."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dist import is_main_process
from tqdm import tqdm

from perception.datasets.transforms import (
    DelayCameras,
    DelayLidar,
    DropSensors,
    LimitLidar,
    LoadCameras,
    LoadSweeps,
    LoadThinnedSweeps,
    MiscalibrateCameras,
    SpoilImages,
)
from perception.engine.run import Scorer
from perception.evaluation.json_file import write_json
from perception.visualization.robustness_page import write_robustness_page

Step = dict[str, Any]


class Condition(NamedTuple):
    """One row of the matrix.

    Attributes:
        name: of its folder and row.
        group: rows of one kind, drawn together.
        first: steps before all others.
        loaded: steps after loading, before images are brought to the network's size.
        sweeps: arguments of LoadSweeps that change.
        ring_step: the LiDAR keeps every n-th of its beams.
    """

    name: str
    group: str
    first: tuple[Step, ...] = ()
    loaded: tuple[Step, ...] = ()
    sweeps: Step | None = None
    ring_step: int = 1


def conditions(cameras: Sequence[str]) -> list[Condition]:
    """The matrix for a rig with these cameras; the first row is the undisturbed model."""

    def drop(name: str, group: str, **what: Any) -> Condition:
        return Condition(name, group, loaded=(dict(type=DropSensors, **what),))

    def spoil(name: str, **what: Any) -> Condition:
        return Condition(name, "images", loaded=(dict(type=SpoilImages, **what),))

    rows = [Condition("everything", "all sensors")]
    rows += [drop(f"without {name}", "a camera missing", cameras=[name]) for name in cameras]
    if len(cameras) > 3:
        rows.append(drop("without three cameras", "cameras missing", cameras=list(cameras[::2][:3])))
    if cameras:
        rows.append(drop("without cameras", "cameras missing", cameras="all"))
    rows += [
        drop("without LiDAR", "LiDAR missing", lidar=True),
        Condition("LiDAR within 60 degrees", "LiDAR limited", loaded=(dict(type=LimitLidar, azimuth_deg=60.0),)),
        Condition("LiDAR with a quarter of its beams", "LiDAR limited", ring_step=4),
        Condition("LiDAR with one sweep", "LiDAR limited", sweeps=dict(sweeps=0)),
    ]
    if cameras:
        rows += [
            spoil("black images", exposure=0.0),
            spoil("over-exposed images", exposure=4.0),
            spoil("blurred images", blur_px=8.0),
        ]
        rows += [
            Condition(f"cameras turned by {a:g} degrees", "calibration", (), (_miscalibrated(rotation_deg=a),))
            for a in (0.5, 1.0, 2.0)
        ]
        rows += [
            Condition(f"cameras shifted by {cm} cm", "calibration", (), (_miscalibrated(translation_m=cm / 100),))
            for cm in (2, 5, 10)
        ]
        rows += [
            Condition(f"cameras late by {ms} ms", "time", loaded=(dict(type=DelayCameras, delay_s=ms / 1000),))
            for ms in (50, 100, 200)
        ]
    rows += [
        Condition(f"LiDAR late by {ms} ms", "time", first=(dict(type=DelayLidar, delay_s=ms / 1000),))
        for ms in (50, 100, 200)
    ]
    return rows


def disturbed(pipeline: Sequence[Step], condition: Condition) -> list[Step]:
    """A test pipeline under a condition.

    Raises ValueError where the pipeline loads nothing that the condition could disturb.
    """
    steps = copy.deepcopy(list(pipeline))
    kinds = [step["type"] for step in steps]
    loaders = [i for i, kind in enumerate(kinds) if kind in (LoadSweeps, LoadCameras)]
    if not loaders:
        raise ValueError("the test pipeline has neither LoadSweeps nor LoadCameras: there is nothing to disturb")
    if LoadSweeps in kinds:
        i = kinds.index(LoadSweeps)
        steps[i].update(condition.sweeps or {})
        if condition.ring_step > 1:
            steps[i].update(type=LoadThinnedSweeps, ring_step=condition.ring_step)
    elif condition.group.startswith("LiDAR") or any(step["type"] is DelayLidar for step in condition.first):
        raise ValueError(f"the model has no LiDAR; '{condition.name}' does not apply")
    after = loaders[-1] + 1
    return [*map(dict, condition.first), *steps[:after], *map(dict, condition.loaded), *steps[after:]]


def measure_robustness(
    config: Config, checkpoint: str | Path, out_dir: str | Path, launcher: str = "none"
) -> list[dict[str, Any]]:
    """Score a checkpoint under every condition that applies to its sensors.

    Writes robustness.json and robustness.html (table and plot) to out_dir. Returns a row per condition: {name, group,
    NDS, mAP, share: of the undisturbed NDS}.
    """
    pipeline = config.test_dataloader.dataset.pipeline
    scorer = Scorer(config, checkpoint, out_dir, launcher)
    cameras = sorted(scorer.dataset.get_data_info(0).get("images", {}))
    if LoadCameras not in [step["type"] for step in pipeline]:
        cameras = []
    rows: list[dict[str, Any]] = []
    for condition in tqdm(_applicable(pipeline, cameras), desc="conditions", disable=None):
        scores = scorer.score(condition.name.replace(" ", "_"), pipeline=disturbed(pipeline, condition))
        full = rows[0]["NDS"] if rows else scores["NDS"]
        rows.append(
            {
                "name": condition.name,
                "group": condition.group,
                "NDS": scores["NDS"],
                "mAP": scores["mAP"],
                "share": scores["NDS"] / full if full else None,
            }
        )
    if is_main_process():
        write_json(Path(out_dir) / "robustness.json", rows, indent=2)
        write_robustness_page(Path(out_dir) / "robustness.html", rows)
    return rows


def _applicable(pipeline: Sequence[Step], cameras: Sequence[str]) -> list[Condition]:
    rows = conditions(cameras)
    if LoadSweeps in [step["type"] for step in pipeline]:
        return rows
    return [row for row in rows if not row.group.startswith("LiDAR") and not row.first]


def _miscalibrated(**what: float) -> Step:
    return dict(type=MiscalibrateCameras, **what)
