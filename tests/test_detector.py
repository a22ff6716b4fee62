"""The detector around the network: what it learns in the pictures, mixed rigs, and weights without the 2D head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_model import GRID, frames, network

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from perception.camera.image_head import TridentImageHead
from perception.camera.lift import VALID_RANGES_PX
from perception.camera.panoptic_head import PanopticHead
from perception.camera.panoptic_loss import PanopticLoss
from perception.detector import FramePreprocessor, FusionDetector
from perception.engine.checkpoints import load_weights
from perception.engine.matching import hungarian
from perception.head.center_targets import CenterLoss
from perception.model import Frames


def detector(image_head: bool = True, lidar: bool = False, **options: Any) -> FusionDetector:
    net = network(lidar=lidar)
    assert net.camera is not None
    net.camera.image_head = TridentImageHead(16, 10, VALID_RANGES_PX) if image_head else None
    return FusionDetector(net, CenterLoss(GRID, 10), **options)


def key_frames() -> Frames:
    """All of the cloud is of the key sweep, whose points are the ones that teach."""
    seen = frames()
    seen.points[:, 4] = 0
    return seen


def truth() -> list[Det3DDataSample]:
    samples = []
    for boxes in ([[0.5, 6.0, 0.0, 4.0, 2.0, 1.6, 0.3, 1, 0], [3.0, 9.0, 0.0, 0.7, 0.7, 1.8, 0.0, 0, 0]], []):
        sample = Det3DDataSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor(boxes).view(-1, 9), box_dim=9, origin=(0.5, 0.5, 0.5)),
            labels_3d=torch.tensor([0, 7][: len(boxes)], dtype=torch.long),
        )
        samples.append(sample)
    return samples


@pytest.mark.parametrize("lidar", [False, True])
def test_every_part_of_the_camera_branch_learns(lidar: bool) -> None:
    model = detector(lidar=lidar).train()
    losses = model.loss(key_frames(), truth())
    expected = {
        "loss_depth",
        "loss_semantic",
        "loss_image_heatmap",
        "loss_image_box",
        "loss_heatmap",
        "loss_box",
        "loss_rescore",
        "loss_refine",
    }
    assert expected <= losses.keys() and all(losses[name] > 0 for name in expected - {"loss_refine"})
    sum(losses[name] for name in expected).backward()
    parts = {name: parameter.grad for name, parameter in model.network.camera.named_parameters()}
    if not lidar:  # without a LiDAR in the network nothing is measured for it
        parts.pop("lift.measured_gain")
    for name, gradient in parts.items():
        assert gradient is not None and torch.isfinite(gradient).all(), name
    assert parts["lift.choice.learned"].abs().max() > 0


def test_training_without_lidar_is_the_mean_of_what_both_and_what_the_cameras_alone_get_wrong() -> None:
    model, full = detector(lidar=True).eval(), key_frames()
    with torch.no_grad():  # at the start boxes and scores are alike, whatever the sensors see
        model.network.head.heatmaps[0].weight.mul_(100)
        model.network.head.boxes[0].weight.mul_(100)
    deaf = full._replace(
        points=full.points[:0], point_batch=full.point_batch[:0], lidar_mask=torch.zeros_like(full.lidar_mask)
    )
    both, alone = model.loss(full, truth()), model.loss(deaf, truth())
    model.network.without_lidar, model.network.training = 1.0, True
    twice = model.loss(full, truth())
    for name in ("loss_heatmap", "loss_box"):
        assert abs(both[name] - alone[name]) > 1e-3
        torch.testing.assert_close(twice[name], (both[name] + alone[name]) / 2)
    torch.testing.assert_close(twice["loss_depth"], both["loss_depth"])  # the branches run, and learn, once


def test_the_panoptic_head_learns_beside_the_detector_and_leaves_its_boxes_alone() -> None:
    bare = detector().eval()
    net = detector().network
    assert net.camera is not None
    net.camera.panoptic = PanopticHead(16, 10, 2, channels=16, hidden=16, query_grid=(2, 4))
    with pytest.raises(ValueError, match="go together"):
        FusionDetector(net, CenterLoss(GRID, 10))
    model = FusionDetector(net, CenterLoss(GRID, 10), panoptic_loss=PanopticLoss(hungarian, warm_up_steps=1)).eval()
    ours, theirs = model.network.detect(frames()), bare.network.detect(frames())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    seen = key_frames()
    seen.camera_mask[1] = False
    losses = {k: v for k, v in model.train().loss(seen, truth()).items() if k.startswith("loss_panoptic")}
    assert {"loss_panoptic_semantic", "loss_panoptic_mask", "loss_panoptic_class"} <= losses.keys()
    assert losses["loss_panoptic_semantic"] > 0
    sum(losses.values()).backward()
    for name, parameter in model.network.camera.panoptic.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert model.network.camera.backbone.conv1.weight.grad.abs().max() > 0
    nothing = seen._replace(camera_mask=torch.zeros_like(seen.camera_mask))
    losses = model.loss(nothing, truth())
    assert all(torch.isfinite(v) for k, v in losses.items() if k.startswith("loss_panoptic"))


def test_boxes_teach_depth_where_no_point_does() -> None:
    model, blind = detector().train(), frames()
    blind = blind._replace(points=blind.points[:0], point_batch=blind.point_batch[:0])
    with_boxes = model.loss(blind, truth())["loss_depth"]
    nothing = truth()
    nothing[0] = nothing[1]
    assert with_boxes > 0 and model.loss(blind, nothing)["loss_depth"] == 0


def test_weights_scale_the_losses_in_the_pictures() -> None:
    plain = detector().train().loss(key_frames(), truth())
    heavy = detector(depth_weight=3.0, semantic_weight=0.5, image_weight=2.0).train().loss(key_frames(), truth())
    for name, weight in {"depth": 3.0, "semantic": 0.5, "image_heatmap": 2.0, "image_box": 2.0}.items():
        torch.testing.assert_close(heavy[f"loss_{name}"], weight * plain[f"loss_{name}"])


def test_weights_of_a_model_with_the_2d_head_load_without_it_and_give_the_same_boxes(tmp_path: Path) -> None:
    taught, bare = detector().eval(), detector(image_head=False).eval()
    with torch.no_grad():
        for parameter in taught.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    torch.save({"state_dict": taught.state_dict()}, tmp_path / "taught.pth")
    load_weights(bare, str(tmp_path / "taught.pth"))
    ours, theirs = bare.network.detect(frames()), taught.network.detect(frames())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    torch.save({"state_dict": {**taught.state_dict(), "other": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="1 unexpected"):
        load_weights(bare, str(tmp_path / "other.pth"))
    torch.save({"state_dict": bare.state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="missing"):
        load_weights(taught, str(tmp_path / "bare.pth"))


def test_samples_of_different_rigs_make_one_batch() -> None:
    def sample(cameras: int) -> dict[str, Any]:
        return {
            "points": torch.zeros(3, 5),
            "lidar_mask": torch.tensor(True),
            "images": torch.full((cameras, 3, 4, 6), cameras, dtype=torch.uint8),
            "image_from_lidar": torch.eye(4).repeat(cameras, 1, 1),
            "camera_mask": torch.ones(cameras, dtype=torch.bool),
        }

    samples = [sample(n) for n in (1, 12, 5)]
    inputs = {key: [s[key] for s in samples] for key in samples[0]}
    batch = FramePreprocessor()({"inputs": inputs, "data_samples": truth() + truth()[:1]})["inputs"]
    assert batch.images.shape == (3, 12, 3, 4, 6) and batch.images.dtype == torch.uint8
    assert batch.camera_mask.sum(1).tolist() == [1, 12, 5] and batch.camera_mask.dtype == torch.bool
    for i, n in enumerate((1, 12, 5)):
        assert (batch.images[i, :n] == n).all() and not batch.images[i, n:].any()
        assert batch.camera_mask[i, :n].all()
        assert torch.equal(batch.image_from_lidar[i, :n], inputs["image_from_lidar"][i])


def test_a_training_begins_the_backbone_from_its_checkpoint(tmp_path: Path) -> None:
    taught, model = detector(), detector()
    assert taught.network.camera is not None and model.network.camera is not None
    with torch.no_grad():
        taught.network.camera.backbone.conv1.weight.fill_(0.5)
    torch.save({"state_dict": taught.network.camera.backbone.state_dict()}, tmp_path / "backbone.pth")
    model.backbone_checkpoint = str(tmp_path / "backbone.pth")
    model.init_weights()
    assert (model.network.camera.backbone.conv1.weight == 0.5).all()
    with pytest.raises(ValueError, match="no cameras"):
        FusionDetector(network(camera=False), CenterLoss(GRID, 10), backbone_checkpoint="backbone.pth")


def test_a_training_begins_parts_from_other_detectors(tmp_path: Path) -> None:
    taught, model = detector(), detector()
    with torch.no_grad():
        for parameter in taught.parameters():
            parameter.fill_(0.5)
    torch.save({"state_dict": taught.state_dict()}, tmp_path / "taught.pth")
    model.part_checkpoints = {"camera": str(tmp_path / "taught.pth"), "decoder": None}
    model.init_weights()
    assert model.network.camera is not None
    assert all((p == 0.5).all() for p in model.network.camera.parameters())
    assert not any((p == 0.5).all() for p in model.network.decoder.parameters())
    model.part_checkpoints = {"radar": str(tmp_path / "taught.pth")}
    with pytest.raises(ValueError, match="names the part 'radar'; the network has camera, fuser, decoder, head"):
        model.init_weights()
    torch.save({"state_dict": {}}, tmp_path / "empty.pth")
    model.part_checkpoints = {"head": str(tmp_path / "empty.pth")}
    with pytest.raises(ValueError, match=r"empty\.pth"):
        model.init_weights()


def test_a_fused_detector_begins_where_its_lidar_s_ended(tmp_path: Path) -> None:
    """With every part but the camera branch from a LiDAR detector it finds what that one finds."""
    alone = FusionDetector(network(camera=False), CenterLoss(GRID, 10)).eval()
    torch.save({"state_dict": alone.state_dict()}, tmp_path / "lidar.pth")
    parts = dict.fromkeys(("lidar", "fuser", "decoder", "head", "second_stage"), str(tmp_path / "lidar.pth"))
    torch.manual_seed(1)
    both = detector(lidar=True)
    for parameter in both.network.parameters():
        torch.nn.init.normal_(parameter)
    both.part_checkpoints = parts
    both.init_weights()
    frame = key_frames()
    expected, got = alone.network.detect(frame), both.eval().network.detect(frame)
    torch.testing.assert_close(got.scores, expected.scores)
    torch.testing.assert_close(got.boxes, expected.boxes)
    both.train().loss(frame, truth())["loss_heatmap"].backward()
    assert both.network.fuser.mix["camera"].weight.grad.any()
    eyes = detector()
    eyes.part_checkpoints = {"fuser": str(tmp_path / "lidar.pth")}
    with pytest.raises(ValueError, match=r"lidar\.pth is no ConcatFuser of this size.*mix\.camera"):
        eyes.init_weights()


def test_training_leaves_frozen_parts_as_they_are() -> None:
    torch.manual_seed(0)
    model = detector(lidar=True, frozen=("lidar", "decoder")).train()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    sum(loss for name, loss in model.loss(key_frames(), truth()).items() if "loss" in name).backward()
    optimizer.step()
    kept = {name for name, value in model.network.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith(("lidar.", "decoder."))} <= kept
    assert not {"fuser.norm.running_mean", "fuser.mix.camera.weight", "head.shared.0.weight"} & kept
    with pytest.raises(ValueError, match="names the part 'eyes'"):
        detector(frozen="eyes")
