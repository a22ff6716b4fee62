"""The whole network: either sensor, both, and whatever is missing."""

import pytest
import torch

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.head.center_head import CenterHead
from perception.head.second_stage import SecondStage
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder
from perception.model import Frames, PerceptionNetwork

GRID = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0))


def network(lidar: bool = True, camera: bool = True, head_grid: BEVGrid = GRID) -> PerceptionNetwork:
    torch.manual_seed(0)
    sst = SST(16, 16, 2, 32, 1, (1, 8, 8), GRID.shape, conv_dilations=())
    trident = TridentResNet(18, base_channels=16)
    lift = ScaleAwareLift(16, 8, GRID, (1.0, 21.0), 10)
    neck = TridentNeck(trident.out_channels, 16)
    stage = SecondStage(10, 32, 16 if camera else 0)
    for layers in (stage.by_map, *([stage.images.layers] if stage.images else [])):
        torch.nn.init.normal_(layers[-1].weight, std=0.002)  # zero until it is trained
    return PerceptionNetwork(
        LidarBranch(VoxelEncoder(GRID, (8, 16)), sst) if lidar else None,
        CameraBranch(trident, neck, lift, SemanticHead(16, 10)) if camera else None,
        ConcatFuser(({"lidar": 16} if lidar else {}) | ({"camera": 18} if camera else {}), 16),
        BEVDecoder(16, (16, 32), (1, 1), 1, 16),
        CenterHead(32, head_grid, (tuple(range(10)),), 16, candidates=20),
        stage,
    ).eval()


def frames(batch: int = 2, cameras: int = 2, points: int = 500) -> Frames:
    generator = torch.Generator().manual_seed(0)
    cloud = torch.rand(batch * points, 5, generator=generator) * torch.tensor([32.0, 32, 8, 255, 0.5])
    matrix = torch.tensor([[40.0, 32, 0, 0], [0, 16, -40, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return Frames(
        cloud - torch.tensor([16.0, 16, 5, 0, 0]),
        torch.arange(batch).repeat_interleave(points),
        torch.randint(255, (batch, cameras, 3, 32, 64), dtype=torch.uint8, generator=generator),
        matrix.expand(batch, cameras, 4, 4),
        torch.ones(batch, cameras, dtype=torch.bool),
        torch.ones(batch, dtype=torch.bool),
    )


@pytest.mark.parametrize(("lidar", "camera"), [(True, False), (False, True), (True, True)])
def test_sensors_by_config(lidar: bool, camera: bool) -> None:
    detections = network(lidar, camera).detect(frames())
    assert detections.boxes.shape == (2, 20, 9)
    assert torch.isfinite(detections.boxes).all()
    assert (detections.scores[:, :-1] >= detections.scores[:, 1:]).all()


@pytest.mark.parametrize("cameras", [1, 3, 12])
def test_any_number_of_cameras_runs_through_the_same_weights(cameras: int) -> None:
    assert network().detect(frames(1, cameras)).boxes.shape == (1, 20, 9)


def test_what_is_missing_has_no_influence_and_does_not_break_the_run() -> None:
    net, full = network(), frames()
    blind = full._replace(camera_mask=torch.zeros_like(full.camera_mask))
    garbage = blind._replace(images=255 - blind.images, image_from_lidar=torch.zeros_like(blind.image_from_lidar))
    assert torch.equal(net.detect(blind).boxes, net.detect(garbage).boxes)
    assert not torch.equal(net.detect(blind).scores, net.detect(full).scores)
    no_lidar = torch.zeros_like(full.lidar_mask)
    deaf = full._replace(points=full.points[:0], point_batch=full.point_batch[:0], lidar_mask=no_lidar)
    assert torch.isfinite(net.detect(deaf).boxes).all()
    nothing = deaf._replace(camera_mask=blind.camera_mask)
    assert torch.isfinite(net.detect(nothing).boxes).all()
    # No camera is as good as cameras that are off.
    none = full._replace(
        images=full.images[:, :0], image_from_lidar=full.image_from_lidar[:, :0], camera_mask=full.camera_mask[:, :0]
    )
    torch.testing.assert_close(net.detect(none), net.detect(blind))


def test_training_without_lidar_decodes_each_sample_again_as_if_the_lidar_were_missing() -> None:
    net, full = network(), frames(batch=3)
    full.points[:, 4] = 0  # of the key sweep, which guides the depths
    net.without_lidar = 1.0
    assert net(full).again is None  # at inference never
    net.training = True  # but not its parts, whose batch norms would mix the samples
    mixed = full._replace(lidar_mask=torch.tensor([True, False, True]))
    mixed.camera_mask[2] = False
    output = net(mixed)
    assert output.again.tolist() == [0] and output.head.heatmap.shape[0] == 4  # the others lack a sensor anyhow
    net.training = False
    deaf = mixed._replace(
        points=full.points[:0], point_batch=full.point_batch[:0], lidar_mask=torch.zeros_like(full.lidar_mask)
    )
    with_lidar, without = net(mixed).head, net(deaf).head
    assert not torch.allclose(with_lidar.heatmap[0], without.heatmap[0], atol=1e-3)
    for got, known, cameras in zip(output.head[:2], with_lidar[:2], without[:2], strict=True):
        torch.testing.assert_close(got[:3], known)
        torch.testing.assert_close(got[3], cameras[0])


def test_a_share_of_the_samples_is_decoded_again() -> None:
    net, full = network(), frames(batch=8)
    net.training, net.without_lidar = True, 0.5
    torch.manual_seed(0)
    counts = [len(net(full).again) for _ in range(5)]
    assert 10 < sum(counts) < 30 and len(set(counts)) > 1
    with pytest.raises(ValueError, match="share"):
        PerceptionNetwork(net.lidar, net.camera, net.fuser, net.decoder, net.head, without_lidar=1.5)


def test_a_sample_is_the_same_alone_and_in_a_batch() -> None:
    net, both = network(), frames()
    first = Frames(both.points[:500], both.point_batch[:500], *(t[:1] for t in both[2:]))
    alone, batched = net.detect(first), net.detect(both)
    assert torch.allclose(alone.scores[0], batched.scores[0], atol=1e-5)


def test_a_network_needs_a_sensor() -> None:
    with pytest.raises(ValueError, match="branch"):
        network(False, False)


@pytest.mark.parametrize(("lidar", "name"), [(True, "LiDAR"), (False, "camera")])
def test_maps_that_are_not_on_the_heads_grid_are_named(lidar: bool, name: str) -> None:
    with pytest.raises(ValueError, match=rf"the {name} branch's map has \(32, 32\) cells"):
        network(lidar, not lidar, head_grid=GRID.scaled(2))


def test_a_second_stage_that_does_not_fit_is_told_what_does_not() -> None:
    net = network()
    parts = (net.fuser, net.decoder, net.head)
    with pytest.raises(ValueError, match="semantic head"):
        PerceptionNetwork(net.lidar, None, *parts, SecondStage(10, 32, 16))
    with pytest.raises(ValueError, match="in_channels are 64; the decoder's map has 32"):
        PerceptionNetwork(net.lidar, net.camera, *parts, SecondStage(10, 64, 16))
    with pytest.raises(ValueError, match="image_channels are 48; the neck's features have 16"):
        PerceptionNetwork(net.lidar, net.camera, *parts, SecondStage(10, 32, 48))


@pytest.mark.parametrize("cameras", [True, False])
def test_the_second_stage_corrects_every_candidate_of_the_first(cameras: bool) -> None:
    net, full = network(camera=cameras), frames()
    looked = net.detect(full)
    net.second_stage = None
    first = net.detect(full)
    for b in range(2):
        assert not torch.equal(looked.scores[b], first.scores[b])
        gaps = torch.cdist(looked.boxes[b], first.boxes[b]).min(dim=1).values
        assert 0 < gaps.max() < 1.0
        assert sorted(looked.labels[b].tolist()) == sorted(first.labels[b].tolist())
