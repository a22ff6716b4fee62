"""Inside the network for one frame: depth per pixel, attention windows, and the maps that are fused.

Maps of many channels are shown by their three first principal components as red, green and blue: equal colours, equal
features.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from perception.camera.panoptic_head import Segments, merge_masks
from perception.lidar.sst import SST
from perception.model import Frames, PerceptionNetwork
from perception.visualization.style import BACKGROUND, FAINT_INK, INK, PANEL, draw_texts

WIDTH_PX = 1920
COLUMNS = 3
GAP_PX = 6
DEPTH_RANGE_M = (1.0, 60.0)


class InnerViews(NamedTuple):
    """What one frame looks like on its way; None where the network has no such branch.

    Attributes:
        images: [N,H,W,3] uint8 RGB, as the network sees them.
        depth_m: [N,h,w] float32, the expected depth of each feature cell from the images alone.
        tokens: [V,2] int64 (y, x), the occupied pillars.
        window: cells (y, x) of an attention window.
        grid: cells (Y, X) of the LiDAR branch.
        maps: {name: [C,Y,X] float32} of the LiDAR branch, the lifted images, and both fused.
        segments: of every image, where the camera branch has a panoptic head.
    """

    images: np.ndarray | None
    depth_m: np.ndarray | None
    tokens: np.ndarray | None
    window: tuple[int, int] | None
    grid: tuple[int, int] | None
    maps: dict[str, np.ndarray]
    segments: list[Segments] | None = None


@torch.no_grad()
def inner_views(network: PerceptionNetwork, frames: Frames) -> InnerViews:
    """Run the network on a batch of one frame and keep what it passes on."""
    kept: dict[str, Any] = {}
    hooks = []

    def keep(name: str) -> Any:
        return lambda module, inputs, output: kept.__setitem__(name, (inputs, output))

    parts: dict[str, torch.nn.Module] = {"fused": network.fuser, "decoded": network.decoder}
    backbone = network.lidar.backbone if network.lidar is not None else None
    if network.lidar is not None:
        parts["lidar"] = network.lidar
    if isinstance(backbone, SST):
        parts["sst"] = backbone
    if network.camera is not None:
        parts["camera"] = network.camera
    try:
        hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
        network(frames)
    finally:
        for hook in hooks:
            hook.remove()

    maps: dict[str, np.ndarray] = {}
    images = depth_m = tokens = segments = None
    window: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    if network.lidar is not None:
        maps["LiDAR features"] = _array(kept["lidar"][1][0])
    if isinstance(backbone, SST):
        coords = kept["sst"][0][1]
        tokens = coords[:, 2:].cpu().numpy().astype(np.int64)
        window, grid = backbone.window[1:], backbone.grid[1:]
    if network.camera is not None:
        maps["lifted image features"] = _array(kept["camera"][1].bev[0])
        depth = kept["camera"][1].depth_logits[0].float().softmax(dim=1)
        depth_m = _array((depth * network.camera.lift.depths_m[:, None, None]).sum(dim=1))
        images = frames.images[0].permute(0, 2, 3, 1).cpu().numpy()
        if kept["camera"][1].panoptic is not None:
            segments = merge_masks(kept["camera"][1].panoptic, (images.shape[1], images.shape[2]))
    maps["fused features"] = _array(kept["fused"][1][0])
    return InnerViews(images, depth_m, tokens, window, grid, maps, segments)


def network_picture(views: InnerViews, title: str = "") -> np.ndarray:
    """RGB picture [H,1920,3] uint8: images with their depth, windows with their tokens, maps; +y of the LiDAR is up."""
    rows = [_caption(title or "inside the network", 20)]
    if views.images is not None and views.depth_m is not None:
        near, far = DEPTH_RANGE_M
        rows.append(_caption(f"depth from the images alone, {near:g} m red to {far:g} m blue (logarithmic)", 15))
        tiles = [depth_tile(image, depth) for image, depth in zip(views.images, views.depth_m, strict=True)]
        rows += _rows(tiles, COLUMNS)
    if views.images is not None and views.segments is not None:
        rows.append(_caption("masks: a colour per object, stuff paler", 15))
        rows += _rows([mask_tile(*pair) for pair in zip(views.images, views.segments, strict=True)], COLUMNS)
    squares, names = [], []
    if views.tokens is not None and views.window is not None and views.grid is not None:
        squares.append(window_tile(views.tokens, views.window, views.grid))
        names.append(f"{len(views.tokens)} tokens, windows of {views.window[0]} x {views.window[1]} (yellow: busy)")
    for name, features in views.maps.items():
        squares.append(feature_tile(features))
        names.append(f"{name}, {features.shape[0]} channels as three colours")
    if squares:
        rows.append(_caption("   |   ".join(names), 15))
        rows += _rows(squares, len(squares))
    return np.concatenate(rows)


def depth_tile(image: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    """An image RGB [H,W,3] uint8 tinted by the depth [h,w] (m) of its cells."""
    near, far = np.log(DEPTH_RANGE_M)
    share = (far - np.log(np.clip(depth_m, *DEPTH_RANGE_M))) / (far - near)
    colours = cv2.applyColorMap(np.round(share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    colours = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    colours = cv2.resize(colours, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
    return cv2.addWeighted(image, 0.4, colours, 0.6, 0)


def mask_tile(image: np.ndarray, segments: Segments, things: int = 10) -> np.ndarray:
    """An image RGB [H,W,3] uint8 under its segments, with a line between them.

    Neighbouring segments differ in hue; a stuff class (from `things` on) has the same in every image. Pixels without
    a segment stay as they are.
    """
    out = image.copy()
    segment = segments.segment.cpu().numpy()
    for k, label in enumerate(segments.label.tolist()):
        hue = (label - things) * 47 + 20 if label >= things else k * 67  # coprime with 180
        hsv = np.array([[[hue % 180, 110 if label >= things else 230, 220]]], np.uint8)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
        own = segment == k
        out[own] = (0.5 * image[own] + 0.5 * colour).astype(np.uint8)
    border = np.zeros(segment.shape, bool)
    border[:, 1:] |= segment[:, 1:] != segment[:, :-1]
    border[1:] |= segment[1:] != segment[:-1]
    out[border] = 255
    return out


def window_tile(tokens: np.ndarray, window: tuple[int, int], grid: tuple[int, int], scale: int = 5) -> np.ndarray:
    """The unshifted attention windows [Y*scale,X*scale,3] uint8: each token coloured by how many share its window.

    tokens [V,2] (y, x). Windows start at whole multiples of their size, as the partition without a shift does.
    """
    height, width = grid
    own = tokens // np.asarray(window)
    columns = -(-width // window[1])
    key = own[:, 0] * columns + own[:, 1]
    counts = np.bincount(key, minlength=columns * -(-height // window[0]))
    shade = np.zeros((height, width), np.uint8)
    shade[tokens[:, 0], tokens[:, 1]] = np.clip(80 + 175 * counts[key] / (window[0] * window[1]), 0, 255)
    colours = cv2.cvtColor(cv2.applyColorMap(shade, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    colours[shade == 0] = BACKGROUND
    canvas = cv2.resize(colours[::-1], (width * scale, height * scale), interpolation=cv2.INTER_NEAREST)
    for y in range(0, height, window[0]):
        cv2.line(canvas, (0, (height - y) * scale - 1), (width * scale, (height - y) * scale - 1), (52, 60, 76), 1)
    for x in range(0, width, window[1]):
        cv2.line(canvas, (x * scale, 0), (x * scale, height * scale), (52, 60, 76), 1)
    return canvas


def feature_tile(features: np.ndarray) -> np.ndarray:
    """A map [C,Y,X] as [Y,X,3] uint8: its three first principal components, cells without features dark; +y is up."""
    channels, height, width = features.shape
    cells = features.reshape(channels, -1).T.astype(np.float64)
    filled = np.abs(cells).max(axis=1) > 1e-6
    picture = np.empty((height * width, 3), np.uint8)
    picture[:] = BACKGROUND
    if filled.sum() > 3 and channels >= 3:
        centred = cells[filled] - cells[filled].mean(axis=0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        components = centred @ vectors[:, ::-1][:, :3]
        low, high = np.percentile(components, (2, 98), axis=0)
        share = np.clip((components - low) / np.maximum(high - low, 1e-9), 0, 1)
        picture[filled] = np.round(40 + 215 * share)
    return picture.reshape(height, width, 3)[::-1]


def _rows(tiles: list[np.ndarray], columns: int) -> list[np.ndarray]:
    """Tiles of one shape, so many to a row, each row WIDTH_PX wide."""
    width = (WIDTH_PX - GAP_PX * (columns - 1)) // columns
    rows = []
    for start in range(0, len(tiles), columns):
        height = round(width * tiles[start].shape[0] / tiles[start].shape[1])
        row = np.full((height + GAP_PX, WIDTH_PX, 3), PANEL, np.uint8)
        for k, tile in enumerate(tiles[start : start + columns]):
            enlarges = tile.shape[1] < width
            method = cv2.INTER_NEAREST if enlarges else cv2.INTER_AREA
            row[:height, k * (width + GAP_PX) :][:, :width] = cv2.resize(tile, (width, height), interpolation=method)
        rows.append(row)
    return rows


def _caption(text: str, size_px: int) -> np.ndarray:
    strip = np.full((size_px + 18, WIDTH_PX, 3), BACKGROUND, np.uint8)
    draw_texts(strip, [(text, (12.0, strip.shape[0] / 2), size_px, INK if size_px > 16 else FAINT_INK, size_px > 16)])
    return strip


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
