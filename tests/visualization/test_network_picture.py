"""Pictures of the inside of the network, from maps whose colours are known."""

import numpy as np
import torch

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.panoptic_head import Segments
from perception.camera.trident import TridentResNet
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.head.center_head import CenterHead
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder
from perception.model import Frames, PerceptionNetwork
from perception.visualization.network_picture import (
    InnerViews,
    depth_tile,
    feature_tile,
    inner_views,
    mask_tile,
    network_picture,
    window_tile,
)


def test_depth_goes_from_red_to_blue() -> None:
    tile = depth_tile(np.zeros((16, 24, 3), np.uint8), np.array([[1.0, 8.0, 60.0]], np.float32)).astype(int)
    near, far = tile[8, 4], tile[8, 20]
    assert near[0] > near[2] + 30
    assert far[2] > far[0]


def test_busy_windows_are_brighter_and_up_is_plus_y() -> None:
    busy = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(
        -1, 2
    )  # low y: bottom of the picture
    tile = window_tile(np.concatenate([busy, [[7, 7]]]), (4, 4), (8, 8), scale=8)
    assert tile.shape == (64, 64, 3)
    full, lone, empty = tile[60, 5].sum(), tile[4, 60].sum(), tile[4, 5].sum()
    assert full > lone > empty


def test_masks_are_painted_and_bordered() -> None:
    segment = torch.full((8, 12), -1)
    segment[:, :4], segment[:, 4:8] = 0, 1
    image = np.full((8, 12, 3), 100, np.uint8)
    tile = mask_tile(image, Segments(segment, torch.tensor([0, 10]), torch.ones(2)))
    assert (tile[:, 9:] == 100).all() and (tile[:, 4] == 255).all() and (tile[:, 8] == 255).all()
    thing, stuff = tile[:, 1].astype(int), tile[:, 6].astype(int)
    assert (thing == thing[0]).all() and (stuff == stuff[0]).all()
    assert np.ptp(thing[0]) > np.ptp(stuff[0]) > 0  # stuff is paler
    views = InnerViews(image[None], np.ones((1, 2, 3), np.float32), None, None, None, {}, None)
    plain = network_picture(views)
    painted = network_picture(views._replace(segments=[Segments(segment, torch.tensor([0, 10]), torch.ones(2))]))
    assert len(painted) > len(plain)


def test_equal_features_have_equal_colours_and_empty_cells_are_dark() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.normal(0, 1, (3, 16))
    where = rng.integers(-1, 3, (10, 12))
    features = np.where(where[..., None] >= 0, kinds[where], 0.0).transpose(2, 0, 1)
    tile = feature_tile(features)[::-1]
    colours = [tile[where == kind] for kind in range(-1, 3)]
    assert all((of_kind == of_kind[0]).all() for of_kind in colours)
    assert len({tuple(of_kind[0]) for of_kind in colours}) == 4
    assert colours[0][0].max() < 40


def test_a_network_without_cameras_has_a_picture_too() -> None:
    maps = {"LiDAR features": np.random.default_rng(0).normal(0, 1, (8, 20, 20))}
    views = InnerViews(None, None, np.array([[3, 4], [5, 6]]), (5, 5), (20, 20), maps)
    picture = network_picture(views)
    assert picture.shape[1:] == (1920, 3)
    assert picture.dtype == np.uint8


def test_what_a_network_passes_on_is_kept() -> None:
    """Hooks read the very tensors: the fused map is what the fuser gives for the two that were kept."""
    grid = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0))
    torch.manual_seed(0)
    trident = TridentResNet(18, base_channels=8)
    network = PerceptionNetwork(
        LidarBranch(VoxelEncoder(grid, (8, 16)), SST(16, 16, 2, 32, 1, (1, 8, 8), grid.shape, conv_dilations=())),
        CameraBranch(trident, TridentNeck(trident.out_channels, 16), ScaleAwareLift(16, 8, grid, (1.0, 21.0), 10)),
        ConcatFuser({"lidar": 16, "camera": 8}, 16),
        BEVDecoder(16, (16, 32), (1, 1), 1, 16),
        CenterHead(32, grid, (tuple(range(10)),), 16, candidates=20),
    ).eval()
    points = torch.rand(300, 5) * torch.tensor([32.0, 32, 8, 255, 0]) - torch.tensor([16.0, 16, 5, 0, 0])
    matrix = torch.tensor([[40.0, 32, 0, 0], [0, 16, -40, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    images = torch.randint(255, (1, 2, 3, 32, 64), dtype=torch.uint8)
    on = torch.ones(1, 2, dtype=torch.bool)
    frames = Frames(points, torch.zeros(300, dtype=torch.int64), images, matrix.expand(1, 2, 4, 4), on, on[:, 0])
    views = inner_views(network, frames)
    occupied = torch.unique(grid.flat_bev_cells(points[:, :3])).numpy()
    assert views.tokens is not None and views.depth_m is not None and views.images is not None
    assert sorted(views.tokens[:, 0] * 32 + views.tokens[:, 1]) == occupied[occupied >= 0].tolist()
    assert views.depth_m.shape == (2, 4, 8)
    assert ((views.depth_m > 1) & (views.depth_m < 21)).all()
    names = {"lidar": "LiDAR features", "camera": "lifted image features"}
    both = {sensor: torch.from_numpy(views.maps[name])[None] for sensor, name in names.items()}
    with torch.no_grad():
        fused = network.fuser(both, dict.fromkeys(both, on[:, 0]))[0].numpy()
    np.testing.assert_allclose(views.maps["fused features"], fused, atol=1e-5)
    assert network_picture(views).shape[1] == 1920
    assert not network.camera._forward_hooks
