"""The exported program against the network, and what the manifest says of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from test_model import GRID, network

from perception.datasets.nuscenes_infos import CLASSES
from perception.engine.export import export_spec
from perception.engine.run import load_config
from perception.export.aoti import export_program, write_artifact
from perception.export.manifest import ExportSpec, manifest_of, read_manifest, weights_sha256
from perception.export.preprocessing import ImagePreprocessing, PointPreprocessing
from perception.export.vehicle import Precision, VehicleNetwork, VehicleShape, example_inputs

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPE = VehicleShape(cameras=2, image_hw=(32, 64), max_points=120_000)


def spec(lidar: bool = True, camera: bool = True, **changes: Any) -> ExportSpec:
    values: dict[str, Any] = {
        "config": "tiny.py",
        "classes": CLASSES,
        "cameras": ("LEFT", "RIGHT") if camera else (),
        "points": PointPreprocessing(2, 1, 1.0, GRID.point_cloud_range) if lidar else None,
        "images": ImagePreprocessing((32, 64), None, 1.0, 0.5, 1.0) if camera else None,
        "max_points": 120_000,
        "score_threshold": 0.02,
        "attributes": {name: ("", "") for name in CLASSES},
        "moving_speed_mps": 0.2,
        "max_camera_lidar_gap_s": 0.1,
    }
    return ExportSpec(**{**values, **changes})


def without_sensors(names: tuple[str, ...], inputs: tuple[torch.Tensor, ...], missing: str) -> tuple[torch.Tensor, ...]:
    given = dict(zip(names, inputs, strict=True))
    if missing == "lidar" and "points" in given:
        given.update(points=given["points"][:0], lidar_mask=torch.tensor([False]))
    if missing == "a camera" and "images" in given:
        given["images"][0], given["camera_mask"][0] = 0, False
    return tuple(given.values())


@pytest.mark.parametrize(("lidar", "camera"), [(True, True), (True, False), (False, True)])
def test_the_program_is_the_network_for_any_number_of_points_and_without_sensors(lidar: bool, camera: bool) -> None:
    net = network(lidar, camera)
    vehicle, shape = VehicleNetwork(net), SHAPE if camera else VehicleShape(0, (0, 0), SHAPE.max_points)
    program = export_program(net, shape).module()
    for points in (0, 1, 2, 3000) if lidar else (0,):
        for missing in ("nothing", "lidar", "a camera"):
            inputs = without_sensors(vehicle.input_names, example_inputs(vehicle.input_names, shape, points), missing)
            for ours, theirs in zip(program(*inputs), vehicle(*inputs), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_vehicle_network_is_the_network() -> None:
    """The same frame in a batch of one, called directly."""
    from test_model import frames

    net, batch = network(), frames(batch=1)
    with torch.no_grad():
        boxes, scores, labels = VehicleNetwork(net)(
            batch.points, batch.lidar_mask, batch.images[0], batch.image_from_lidar[0], batch.camera_mask[0]
        )
    expected = net.detect(batch)
    assert torch.equal(boxes, expected.boxes[0]) and torch.equal(scores, expected.scores[0])
    assert torch.equal(labels, expected.labels[0])


def test_more_points_than_the_bound_are_refused() -> None:
    net = network(camera=False)
    shape = VehicleShape(0, (0, 0), 500)
    names = VehicleNetwork(net).input_names
    program = export_program(net, shape)
    bound = [limits for limits in program.range_constraints.values() if limits.upper == 500]
    assert len(bound) == 1 and bound[0].lower == 0
    with pytest.raises(Exception, match="500"):
        program.module()(*example_inputs(names, shape, 501))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_low_precision_keeps_positions_and_boxes_in_float32(precision: Precision, dtype: torch.dtype) -> None:
    net = network()
    names = VehicleNetwork(net).input_names
    program = export_program(net, SHAPE, precision)
    convolutions = [n for n in _nodes(program.graph_module) if "conv2d" in str(n.target)]
    in_full = [n for n in convolutions if n.meta["val"].dtype == torch.float32]
    assert len(in_full) == 4  # those of the second stage's crops
    assert len(convolutions) > 20 and all(n.meta["val"].dtype == dtype for n in convolutions if n not in in_full)
    voxelize = [n for n in _nodes(program.graph_module) if "perception.voxelize" in str(n.target)]
    assert voxelize and voxelize[0].args[0].meta["val"].dtype == torch.float32
    inputs = example_inputs(names, SHAPE, 1000)
    boxes, scores, _ = program.module()(*inputs)
    assert boxes.dtype == scores.dtype == torch.float32
    # The untrained map is flat, so that rounding decides how many peaks there are; the best are there in both.
    torch.testing.assert_close(scores[:5], VehicleNetwork(net)(*inputs)[1][:5], atol=0.05, rtol=0)


def _nodes(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [n for m in module.modules() if isinstance(m, torch.fx.GraphModule) for n in m.graph.nodes]


def test_the_manifest_says_what_the_artifact_takes(tmp_path: Path) -> None:
    net, model = network(), tmp_path / "model.pt2"
    model.write_bytes(b"code")
    manifest = manifest_of(VehicleNetwork(net), spec(), model, "fp32")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    read = read_manifest(tmp_path)
    assert read == json.loads(json.dumps(manifest))
    inputs = {entry["name"]: entry for entry in read["inputs"]}
    assert inputs["points"]["shape"] == [{"dim": "points", "min": 0, "max": 120_000}, 5]
    shape = spec().shape
    for name, tensor in zip(inputs, example_inputs(tuple(inputs), shape, 10), strict=True):
        assert str(tensor.dtype) == f"torch.{inputs[name]['dtype']}"
        assert name == "points" or list(tensor.shape) == inputs[name]["shape"]
    assert read["grid"]["shape_zyx"] == list(GRID.shape)
    assert read["artifact"]["sha256"] == "5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b"


def test_the_hash_is_of_the_weights() -> None:
    first, second = network(), network()
    assert weights_sha256(first) == weights_sha256(second)
    with torch.no_grad():
        second.head.shared[0].weight[0, 0, 0, 0] += 1e-3
    assert weights_sha256(first) != weights_sha256(second)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tools/export"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format_version": 99}')
    with pytest.raises(ValueError, match="format version 99"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_manifest(tmp_path)


def test_a_folder_that_is_no_artifact_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="no artifact"):
        write_artifact(network(), spec(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ()}, "image preprocessing"),
        ({"cameras": ("A", "A")}, "twice"),
        ({"attributes": {}}, "attributes"),
        ({"max_points": 0}, "sizes"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = spec(**changes).shape


@pytest.mark.parametrize(
    "name", ["demo_fusion", "demo_lidar", "nuscenes_camera", "nuscenes_fusion", "one_frame_fusion"]
)
def test_preprocessing_is_that_of_the_testing_pipeline(name: str) -> None:
    import perception.engine  # noqa: F401  (mmdet3d imports on mmcv-lite after this)

    # isort: split
    from mmdet3d.registry import MODELS

    config = load_config(REPOSITORY / "configs" / f"{name}.py")
    made = export_spec(config, MODELS.build(config.model), name)
    assert (made.images is not None) == (len(made.cameras) == 6) == ("lidar" not in name)
    assert (made.points is not None) == ("camera" not in name)
    if name == "demo_fusion":
        assert made.points is not None and made.images is not None
        assert asdict(made.points) == {
            "sweeps": 2, "every": 5, "remove_close_m": 1.0, "range_m": pytest.approx((-51.2, -51.2, -5, 51.2, 51.2, 3)),
        }  # fmt: skip
        assert made.images == ImagePreprocessing((128, 352), (128, 352), 1.0, 0.5, 1.0)


def test_a_pipeline_that_a_runtime_does_not_know_is_refused() -> None:
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet3d.registry import MODELS

    from perception.datasets.transforms import BEVAugment

    config = load_config(REPOSITORY / "configs" / "demo_fusion.py")
    detector = MODELS.build(config.model)
    steps = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset.pipeline = [*steps[:-1], {"type": BEVAugment}, steps[-1]]
    with pytest.raises(ValueError, match="BEVAugment"):
        export_spec(config, detector, "demo")
    steps[2]["flip"] = 0.5
    config.test_dataloader.dataset.pipeline = steps
    with pytest.raises(ValueError, match="flip"):
        export_spec(config, detector, "demo")
