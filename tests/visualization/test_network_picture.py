"""Pictures of the inside of the network, from maps whose colours are known."""

import numpy as np

from perception.visualization.network_picture import InnerViews, depth_tile, feature_tile, network_picture, window_tile


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
