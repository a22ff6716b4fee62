"""csrc/kernels/onnx_inputs.h through ctypes: the graph's inputs as a program without Python and torch makes them."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from perception.geometry.grid import BEVGrid

OK, ARGUMENT, CAPACITY, POINTS, COORDS, CALIBRATION = range(6)
THREADS = 2


class Grid(ctypes.Structure):
    _fields_ = [("min_m", c_double * 3), ("cell_m", c_double * 3), ("shape_zyx", c_int64 * 3)]


class Voxels(ctypes.Structure):
    _fields_ = [
        ("point_voxel", c_void_p), ("coords", c_void_p), ("point_capacity", c_int64), ("voxel_capacity", c_int64),
        ("points", c_int64), ("count", c_int64),
    ]  # fmt: skip


class WindowGrid(ctypes.Structure):
    _fields_ = [("shape_zyx", c_int64 * 3), ("window_zyx", c_int64 * 3)]


class Windows(ctypes.Structure):
    _fields_ = [
        ("tokens", c_void_p * 3), ("slot", c_void_p), ("capacity", c_int64 * 3), ("slot_capacity", c_int64),
        ("count", c_int64 * 3),
    ]  # fmt: skip


class Rays(ctypes.Structure):
    _fields_ = [
        ("grid", Grid), ("depth_near_m", c_double), ("depth_bin_m", c_double), ("depth_bins", c_int64),
        ("image_rows", c_int64), ("image_columns", c_int64), ("stride", c_int64),
    ]  # fmt: skip


def grid_of(grid: BEVGrid) -> Grid:
    return Grid((c_double * 3)(*grid.range_min_m), (c_double * 3)(*grid.cell_m), (c_int64 * 3)(*grid.shape))


def window_grid_of(shape: Sequence[int], window: Sequence[int]) -> WindowGrid:
    return WindowGrid((c_int64 * 3)(*shape), (c_int64 * 3)(*window))


class OnnxInputs:
    """The library, with numpy arrays; a call that fails raises RuntimeError with its code."""

    def __init__(self, path: Path) -> None:
        self.library = library = ctypes.CDLL(str(path))
        for name, result, arguments in (
            ("voxel_bound", c_int64, [POINTER(Grid), c_int64]),
            ("voxelize_bytes", c_size_t, [POINTER(Grid), c_int64, c_int32]),
            ("voxelize", c_int32,
             [POINTER(Grid), c_void_p, c_int64, POINTER(Voxels), c_void_p, c_size_t, c_int32]),
            ("bucket_sizes", c_int32, [POINTER(WindowGrid), POINTER(c_int64)]),
            ("window_bound", c_int64, [POINTER(WindowGrid), c_int64, c_int32]),
            ("partition_bytes", c_size_t, [POINTER(WindowGrid), c_int64, c_int32]),
            ("partition", c_int32,
             [POINTER(WindowGrid), c_void_p, c_int64, POINTER(Windows), c_void_p, c_size_t, c_int32]),
            ("frustum_size", c_int64, [POINTER(Rays), c_int64]),
            ("frustum_cells", c_int32, [POINTER(Rays), c_void_p, c_void_p, c_int64, c_void_p, c_int64]),
        ):  # fmt: skip
            function = getattr(library, f"perception_onnx_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    @property
    def no_point(self) -> np.ndarray:
        return np.ctypeslib.as_array((c_float * 5).in_dll(self.library, "perception_onnx_no_point")).copy()

    def voxels(self, grid: Grid, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """point_voxel [P] and coords [V,4] of points [P,5]."""
        count, bound = len(points), self.voxel_bound(grid, len(points))
        point_voxel, coords = np.full(max(count, 1), 99, np.int64), np.full((bound, 4), 99, np.int32)
        out = Voxels(point_voxel.ctypes.data, coords.ctypes.data, len(point_voxel), bound)
        memory = np.empty(self.voxelize_bytes(grid, count, THREADS), np.uint8)
        points = np.ascontiguousarray(points, np.float32)
        self._check(self.voxelize(grid, points.ctypes.data, count, out, memory.ctypes.data, memory.nbytes, THREADS))
        return point_voxel[: out.points], coords[: out.count]

    def windows(self, grid: WindowGrid, coords: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Of each partition the buckets by size, "18" [W,18] and so on, and "slot" [V]."""
        sizes, voxels = (c_int64 * 3)(), len(coords)
        buckets = self.bucket_sizes(grid, sizes)
        partitions, arrays = (Windows * 2)(), []
        for out in partitions:
            out.slot_capacity = voxels
            tokens = [np.full((self.window_bound(grid, voxels, i), sizes[i]), 99, np.int64) for i in range(buckets)]
            slot = np.full(voxels, 99, np.int64)
            out.slot = slot.ctypes.data
            for i, bucket in enumerate(tokens):
                out.tokens[i], out.capacity[i] = bucket.ctypes.data, len(bucket)
            arrays.append((tokens, slot))
        memory = np.empty(self.partition_bytes(grid, voxels, THREADS), np.uint8)
        coords = np.ascontiguousarray(coords, np.int32)
        self._check(
            self.partition(grid, coords.ctypes.data, voxels, partitions, memory.ctypes.data, memory.nbytes, THREADS)
        )
        return [
            {**{str(b.shape[1]): b[: out.count[i]] for i, b in enumerate(tokens)}, "slot": slot}
            for out, (tokens, slot) in zip(partitions, arrays, strict=True)
        ]

    def cells(self, rays: Rays, image_from_lidar: np.ndarray, camera_mask: np.ndarray) -> np.ndarray:
        """frustum_cell [N,D,h,w] of matrices [N,4,4]."""
        cameras = len(image_from_lidar)
        shape = rays.depth_bins, rays.image_rows // rays.stride, rays.image_columns // rays.stride
        cells = np.full((cameras, *shape), 99, np.int64)
        assert cells.size == self.frustum_size(rays, cameras)
        matrix, mask = np.ascontiguousarray(image_from_lidar, np.float32), camera_mask.astype(c_uint8)
        self._check(
            self.frustum_cells(rays, matrix.ctypes.data, mask.ctypes.data, cameras, cells.ctypes.data, cells.size)
        )
        return cells

    @staticmethod
    def _check(code: Any) -> None:
        if code != OK:
            raise RuntimeError(f"code {code}")
