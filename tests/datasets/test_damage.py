"""Two thousand damaged files: each is an error that names it, makes no difference, or cannot be told.

What cannot be told is listed in each Kind's `unseen`; any other damage that changes a sample fails.
"""

import json
import pickle
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import damages
import pytest
import torch
from damages import COMMON, Damage, changed_in_json, nan_in_floats, nan_in_json
from mmengine.dataset import Compose
from object_frames import write_frames
from small_dataroot import write_dataroot

from perception.datasets.frames import frame_inputs, read_frames
from perception.datasets.gt_cutting import create_gt_database
from perception.datasets.gt_database import GTDatabase
from perception.datasets.info_files import read_info_file
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.nuscenes_entries import sample_entry
from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.nuscenes_reader import NuScenesReader
from perception.datasets.nuscenes_tables import TABLES
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame
from perception.engine.checkpoints import read_checkpoint

CPU_S_PER_CASE = 10


class Kind(NamedTuple):
    """A kind of input file: the files, what reads them, how they go bad, how often, and which damage can go unseen."""

    files: list[Path]
    read: Callable[[], Any]
    damages: tuple[Damage, ...]
    cases: int
    unseen: tuple[Damage, ...] = ()


def pipeline(on_bad_data: str = "stop") -> Compose:
    return Compose(
        [
            LoadSweeps(4, on_bad_data=on_bad_data),
            LoadCameras(("CAM_FRONT", "CAM_BACK"), on_bad_data=on_bad_data),
            ImageAugment((240, 400)),
            PackFrame(),
        ]
    )


def samples(infos: Path, on_bad_data: str = "stop") -> list[dict[str, Any]]:
    dataset = NuScenesFusionDataset(
        str(infos), pipeline(on_bad_data).transforms, test_mode=True, on_bad_data=on_bad_data
    )
    return [dataset[index] for index in range(len(dataset))]


def reader(infos: Path, *steps: Any) -> Callable[[], list[Any]]:
    """Reads the samples of a data set that is opened once, by a few steps alone."""
    dataset = NuScenesFusionDataset(str(infos), steps, test_mode=True)
    return lambda: contents([dataset[index] for index in range(len(dataset))])


def contents(packed: list[dict[str, Any]]) -> list[Any]:
    """All that training sees of samples, to compare."""
    out: list[Any] = []
    for sample in packed:
        out += sample["inputs"].values()
        if (truth := sample["data_samples"].get("eval_ann_info")) is not None:
            out += [truth["gt_bboxes_3d"].tensor.nan_to_num(7e7), torch.tensor(truth["gt_labels_3d"])]
    return out


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    root = write_dataroot(tmp_path_factory.mktemp("damage") / "root")
    infos = create_info_files(root, "v1.0-mini", root, progress=False)["train"]
    # As mmdet3d writes it: without our checksum and sizes.
    pickled = root / "mmdet3d_infos.pkl"
    metainfo, entries = read_info_file(infos)
    for entry in entries:
        for row in (entry["lidar_points"], *entry["images"].values()):
            del row["bytes"]
    pickled.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": entries}))
    database = root.parent / "gt"
    frames_of_objects = write_frames(root.parent / "objects", 2, ("car", "pedestrian"), background=20)
    create_gt_database(frames_of_objects, database, sweeps=1, progress=False)
    folder = own_folder(root.parent / "own", infos)
    torch.save({"state_dict": {"weight": torch.randn(40, 40)}, "meta": {"epoch": 3}}, root / "epoch_3.pth")

    def tables() -> list[str]:
        nusc = NuScenesReader(root, "v1.0-mini")
        return [json.dumps(sample_entry(nusc, s["token"], 0, 10)) for s in nusc.sample]

    def objects() -> list[Any]:
        opened = GTDatabase(database)
        counts = {name: len(opened.objects[name].boxes) for name in sorted(opened.objects)}
        return [torch.tensor(opened.points_of(name, i)) for name, count in counts.items() for i in range(count)]

    def frames() -> list[Any]:
        return contents([frame_inputs(frame, pipeline()) for frame in read_frames(folder)])

    both = damages.bit_flipped, damages.overwritten
    cloud, json_file = (*COMMON, nan_in_floats), (*COMMON, nan_in_json, changed_in_json)
    return {
        "table": Kind(
            [root / "v1.0-mini" / f"{name}.json" for name in TABLES], tables, json_file, 700, (*both, changed_in_json)
        ),
        "map": Kind([root / "maps" / "empty.png"], tables, (damages.missing,), 1),
        "cloud": Kind(
            sorted(root.glob("s*/LIDAR_TOP/*.bin")), reader(infos, LoadSweeps(4), PackFrame()), cloud, 400, both
        ),
        "image": Kind(
            sorted(root.glob("samples/CAM*/*.jpg")), reader(infos, LoadCameras(), ImageAugment((60, 100)), PackFrame()),
            COMMON, 350, both,
        ),
        "info file": Kind(
            [infos], lambda: contents(samples(infos)), json_file, 250, (changed_in_json,)
        ),
        "mmdet3d pickle": Kind([pickled], lambda: contents(samples(pickled)), COMMON, 150, both),
        "gt database": Kind(sorted(database.iterdir()), objects, cloud, 150),
        "calibration": Kind([folder / "calibration.json"], frames, json_file, 100, (*both, changed_in_json)),
        "checkpoint": Kind([root / "epoch_3.pth"], lambda: checkpoint(root / "epoch_3.pth"), COMMON, 100),
    }  # fmt: skip


def checkpoint(path: Path) -> list[Any]:
    content = read_checkpoint(path)
    return [content["state_dict"]["weight"], content["meta"]]


def own_folder(folder: Path, infos: Path) -> Path:
    """The first frame by the folder convention."""
    info = NuScenesFusionDataset(str(infos), test_mode=True)[0]
    (folder / "lidar").mkdir(parents=True)
    shutil.copy(info["lidar_path"], folder / "lidar" / "a.bin")
    cameras = {}
    for channel, image in info["images"].items():
        (folder / channel).mkdir()
        shutil.copy(image["img_path"], folder / channel / "a.jpg")
        cameras[channel] = {
            "camera_from_lidar": image["lidar2cam"].tolist(), "intrinsics": image["cam2img"].tolist(), "width": 400,
            "height": 240,
        }  # fmt: skip
    (folder / "calibration.json").write_text(json.dumps({"cameras": cameras}))
    return folder


@contextmanager
def alarm(case: str) -> Iterator[None]:
    """Fails what takes longer than a reader may."""

    def fail(signum: int, frame: Any) -> None:
        raise AssertionError(f"{case} hangs")

    # Time of the processor, so that a busy machine is no hang; and a wait that uses none is one after all.
    before = {s: signal.signal(s, fail) for s in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, CPU_S_PER_CASE)
    signal.alarm(60 * CPU_S_PER_CASE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def damaged(path: Path, damage: Damage, rng: random.Random) -> Iterator[None]:
    content = path.read_bytes()
    damage(path, content, rng)
    try:
        yield
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)


def same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a is b or a == b
        for a, b in zip(one, other, strict=True)
    )


def outcome(kind: Kind, path: Path, reference: list[Any]) -> str:
    """What reading a damaged file comes to: "named", "harmless", "noted empty", or "unseen"."""
    try:
        got = kind.read()
    except (OSError, ValueError) as error:
        message = str(error)
        assert path.name in message or path.parent.name in message, f"does not name {path}: {message}"
        assert len(message) < 1500, f"{len(message)} characters about {path}"
        return "named"
    return "harmless" if same(got, reference) else "unseen"


@pytest.mark.parametrize(
    "name",
    ["table", "map", "cloud", "image", "info file", "mmdet3d pickle", "gt database", "calibration", "checkpoint"],
)
def test_damage_is_named_or_harmless_or_cannot_be_told(kinds: dict[str, Kind], name: str) -> None:
    kind, rng, counts = kinds[name], random.Random(name), Counter[tuple[str, str]]()
    reference = kind.read()
    assert same(kind.read(), reference)
    for case in range(kind.cases):
        damage, path = kind.damages[case % len(kind.damages)], rng.choice(kind.files)
        with damaged(path, damage, rng), alarm(f"{damage.__name__} {path.name}"):
            result = outcome(kind, path, reference)
        if result == "unseen" and name == "cloud" and damage is damages.empty:
            result = "noted"  # by the test of skipping below
        assert result != "unseen" or damage in kind.unseen, f"{damage.__name__} of {path} in case {case} goes unseen"
        counts[damage.__name__, result] += 1
    print(f"{name}:", dict(sorted(counts.items())))
    assert sum(counts.values()) == kind.cases
    assert sum(count for (_, result), count in counts.items() if result == "named") > 0


@pytest.mark.parametrize("seed", range(4))
def test_skipping_names_exactly_the_files_that_are_bad(kinds: dict[str, Kind], seed: int) -> None:
    rng = random.Random(seed)
    (infos,) = kinds["info file"].files
    for case in range(30):
        name = rng.choice(("cloud", "image"))
        kind = kinds[name]
        damage = rng.choice([d for d in kind.damages if d not in damages.MAY_PASS])
        path = rng.choice(kind.files)
        with damaged(path, damage, rng), alarm(f"{damage.__name__} {path.name}"):
            packed = samples(infos, on_bad_data="skip")
        assert len(packed) == 2
        named = {bad["path"] for sample in packed for bad in sample["data_samples"].metainfo.get("bad_files", [])}
        assert named == {str(path)}, f"{damage.__name__} in case {case}"


def test_bad_entries_are_left_out_and_counted(kinds: dict[str, Kind], tmp_path: Path) -> None:
    (infos,) = kinds["info file"].files
    metainfo, entries = read_info_file(infos)
    entries[0]["ego2global"][0][0] += 0.5
    metainfo["dataroot"] = str(infos.parent)
    path = tmp_path / "infos.json"
    path.write_text(json.dumps({"metainfo": metainfo, "data_list": entries}))
    with pytest.raises(ValueError, match=r"infos\.json: sample 'sample_0' is damaged: ego2global is not a rotation"):
        NuScenesFusionDataset(str(path))
    dataset = NuScenesFusionDataset(str(path), on_bad_data="skip")
    assert len(dataset) == 1 and len(dataset.bad_entries) == 1 and "sample_0" in dataset.bad_entries[0]
