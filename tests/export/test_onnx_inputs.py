"""The C interface that makes an ONNX graph's inputs, against Python's onnx_inputs: every array, every number."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from cmake_build import REPOSITORY, build
from onnx_inputs_library import CALIBRATION, COORDS, POINTS, OnnxInputs, Rays, grid_of, window_grid_of
from test_model import network
from test_onnx_network import SENSORS, cases, shape_of

from perception.camera.lift import ScaleAwareLift
from perception.export.onnx_network import PARTITIONS, OnnxNetwork, onnx_inputs
from perception.export.preprocessing import index_numbers
from perception.export.vehicle import VehicleNetwork
from perception.geometry.camera import compose_image_from_lidar
from perception.geometry.grid import BEVGrid
from perception.geometry.transforms import rigid
from perception.lidar.padded_windows import bucket_sizes, pad_windows
from perception.lidar.sst import SST
from perception.ops.window_partition import window_partition


@pytest.fixture(scope="module")
def library() -> OnnxInputs:
    folder = REPOSITORY / "build" / "csrc-plain"
    build(folder, "-DPERCEPTION_TESTS=OFF", "perception_onnx_inputs")
    return OnnxInputs(folder / "libperception_onnx_inputs.so")


def rays_of(lift: ScaleAwareLift, image_hw: tuple[int, int]) -> Rays:
    return Rays(grid_of(lift.grid), lift.near_m, lift.step_m, lift.depth_bins, *image_hw, lift.stride)


@SENSORS
def test_every_input_is_that_of_python(library: OnnxInputs, lidar: bool, camera: bool) -> None:
    net = network(lidar, camera)
    vehicle, padded, shape = VehicleNetwork(net), OnnxNetwork(net), shape_of(camera)
    for given in cases(vehicle, shape):
        ours = {name: tensor.numpy() for name, tensor in given.items()}
        if net.lidar is not None:
            assert isinstance(net.lidar.backbone, SST)
            points, sst = ours["points"], net.lidar.backbone
            ours["point_voxel"], coords = library.voxels(grid_of(net.lidar.voxel_encoder.grid), points)
            ours["coords"] = coords
            if not len(points):
                ours["points"] = library.no_point[None]
            partitions = library.windows(window_grid_of(sst.grid, sst.window), coords)
            for name, windows in zip(PARTITIONS, partitions, strict=True):
                ours |= {f"{name}_{key}": array for key, array in windows.items()}
        if net.camera is not None:
            rays = rays_of(net.camera.lift, shape.image_hw)
            ours["frustum_cell"] = library.cells(rays, ours["image_from_lidar"], ours["camera_mask"])
        expected = onnx_inputs(padded, given)
        assert ours.keys() == expected.keys()
        for name, tensor in expected.items():
            assert ours[name].dtype == tensor.numpy().dtype and np.array_equal(ours[name], tensor.numpy()), name


@pytest.mark.parametrize("window", [(1, 8, 8), (2, 12, 12), (4, 5, 3), (1, 1, 2), (1, 1, 1), (1, 40, 40)])
def test_windows_of_sparse_and_of_full_maps(library: OnnxInputs, window: tuple[int, int, int]) -> None:
    shape, generator = (2, 30, 34), torch.Generator().manual_seed(0)
    for share in (0.001, 0.02, 0.2, 1.0):
        taken = torch.rand(shape, generator=generator) < share
        taken[0, 0, 0] = True
        coords = torch.cat((torch.zeros(int(taken.sum()), 1, dtype=torch.int64), taken.nonzero()), dim=1).int()
        found = library.windows(window_grid_of(shape, window), coords.numpy())
        for ours, partition in zip(found, window_partition(coords, 1, shape, window), strict=True):
            expected = pad_windows(partition, bucket_sizes(window))
            assert list(ours) == [*map(str, bucket_sizes(window)), "slot"]
            for array, tensor in zip(ours.values(), (*expected.buckets, expected.slot), strict=True):
                assert np.array_equal(array, tensor.numpy())


def rig(cameras: int, image_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Matrices [N,4,4] float32 of cameras that look anywhere, of any focal length."""
    matrices = []
    for _ in range(cameras):
        rows, columns = image_hw
        focal = rng.uniform(0.4, 1.5) * columns
        intrinsics = np.array([[focal, 0, columns / 2], [0, focal * rng.uniform(0.9, 1.1), rows / 2], [0, 0, 1]])
        matrices.append(compose_image_from_lidar(rigid(rng.normal(0, 1, 3), rng.normal(0, 1, 4)), intrinsics))
    return np.stack(matrices).astype(np.float32)


@pytest.mark.parametrize("cameras", [1, 2, 6])
def test_cells_of_random_rigs(library: OnnxInputs, cameras: int) -> None:
    """Small cells have many borders, where a rounding more or less is another cell."""
    rng, image_hw = np.random.default_rng(cameras), (64, 160)
    grid = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (-5.0, 3.0), (0.05, 0.05, 8.0))
    lift = ScaleAwareLift(1, 1, grid, (1.0, 60.0), 59)
    for _ in range(10):
        matrix, mask = rig(cameras, image_hw, rng), rng.random(cameras) < 0.9
        there = torch.where(torch.from_numpy(mask)[:, None, None], torch.from_numpy(matrix), torch.eye(4))
        expected = lift.frustum_cells(there[None], (8, 20))[0].numpy()
        assert (expected >= 0).any() and (expected < 0).any()
        assert np.array_equal(library.cells(rays_of(lift, image_hw), matrix, mask), expected)


def test_the_manifest_has_the_numbers_of_the_interface() -> None:
    net = network()
    entry = index_numbers(net)
    assert entry["windows"] == {"shape_zyx": [1, 32, 32], "window_zyx": [1, 8, 8]}
    assert entry["frustum"]["grid"] == {
        "range_m": [-16.0, -16.0, -5.0, 16.0, 16.0, 3.0], "cell_m": [1.0, 1.0, 8.0], "shape_zyx": [1, 32, 32],
    }  # fmt: skip
    assert entry["frustum"]["depth_near_m"] == 1.0 and entry["frustum"]["depth_bin_m"] == 2.0
    assert entry["frustum"]["depth_bins"] == 10 and entry["frustum"]["stride"] == 8


def test_bad_input_is_a_code(library: OnnxInputs) -> None:
    grid = grid_of(BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0)))
    for value in (np.nan, np.inf):
        for column in range(5):
            points = np.zeros((7, 5), np.float32)
            points[6, column] = value
            with pytest.raises(RuntimeError, match=f"code {POINTS}"):
                library.voxels(grid, points)
    for coords in ([[0, 0, 0, 32]], [[1, 0, 0, 0]], [[0, -1, 0, 0]] * 2, [[0, 0, 0, 0]] * 65):
        with pytest.raises(RuntimeError, match=f"code {COORDS}"):
            library.windows(window_grid_of((1, 32, 32), (1, 8, 8)), np.array(coords))
    lift = ScaleAwareLift(1, 1, BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0)))
    for bad in (
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1, np.inf, 1]),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, 1, 1, 2]),
    ):
        matrix = np.stack((np.eye(4), bad))
        with pytest.raises(RuntimeError, match=f"code {CALIBRATION}"):
            library.cells(rays_of(lift, (16, 16)), matrix, np.ones(2, bool))
        library.cells(rays_of(lift, (16, 16)), matrix, np.array([True, False]))  # of a missing one nobody looks


def test_the_header_is_c() -> None:
    compiler, header = shutil.which("cc"), Path("csrc", "kernels", "onnx_inputs.h")
    if compiler is None:
        pytest.skip("no C compiler: apt install gcc")
    command = [
        compiler,
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-fsyntax-only",
        "-x",
        "c",
        str(header),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
