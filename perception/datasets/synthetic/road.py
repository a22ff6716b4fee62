"""The road: a smooth centre line with lanes, parking strips and pavements, and its picture seen from above."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.datasets.synthetic.shapes import Label

LANE_M = 3.5
PARKING_M = 3.4
PAVEMENT_M = 4.0
_STEP_M = 0.5
TEXEL_M = 0.08
LABEL_M = 0.16
MARKING = 32  # a ground label of its own: paint reflects the LiDAR better than asphalt


@dataclass(frozen=True)
class Road:
    """A centre line sampled every half metre. Stations s run along it (m), offsets d to its left (m)."""

    x: np.ndarray  # [n]
    y: np.ndarray  # [n]
    heading: np.ndarray  # [n] rad, unwrapped
    lanes: int  # per direction
    parking: bool

    @property
    def length(self) -> float:
        return _STEP_M * (len(self.x) - 1)

    @property
    def lane_edge(self) -> float:
        """Offset of the outer edge of the outermost lane, m."""
        return self.lanes * LANE_M

    @property
    def kerb(self) -> float:
        """Offset of the kerb, m."""
        return self.lane_edge + (PARKING_M if self.parking else 0.6)

    @property
    def pavement_edge(self) -> float:
        return self.kerb + PAVEMENT_M

    def pose(self, s: np.ndarray | float, d: np.ndarray | float, direction: int = 1) -> np.ndarray:
        """Poses [...,4] (x, y, 0, yaw) at stations s and offsets d, facing along (1) or against (-1) the line."""
        s, d = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(d, dtype=np.float64))
        stations = np.arange(len(self.x)) * _STEP_M
        heading = np.interp(s, stations, self.heading)
        x = np.interp(s, stations, self.x) - np.sin(heading) * d
        y = np.interp(s, stations, self.y) + np.cos(heading) * d
        # Beyond its ends the road goes straight on.
        extra = np.minimum(s, 0.0) + np.maximum(s - self.length, 0.0)
        x, y = x + extra * np.cos(heading), y + extra * np.sin(heading)
        yaw = heading if direction > 0 else heading + np.pi
        return np.stack([x, y, np.zeros_like(x), yaw], axis=-1)

    def strip(self, s0: float, s1: float, d0: float, d1: float) -> np.ndarray:
        """Outline [n,2] of the part between two stations and two offsets (m, global)."""
        s = np.linspace(s0, s1, max(2, int(abs(s1 - s0) / 2) + 1))
        return np.concatenate([self.pose(s, d0)[:, :2], self.pose(s[::-1], d1)[:, :2]])


def main_road(rng: np.random.Generator, length: float, lanes: int, start: tuple[float, float]) -> Road:
    """A road of straight pieces and bends."""
    n = int(length / _STEP_M) + 1
    curvature = np.zeros(n)
    if rng.random() < 0.6:
        first = rng.uniform(0.25, 0.45) * n
        extent = rng.uniform(0.3, 0.5) * n
        bend = (np.arange(n) - first) / extent
        radius = rng.uniform(110, 260) * rng.choice([-1, 1])
        curvature = np.where((bend > 0) & (bend < 1), np.sin(np.pi * np.clip(bend, 0, 1)) / radius, 0.0)
    heading = rng.uniform(-np.pi, np.pi) + np.cumsum(curvature) * _STEP_M
    x = start[0] + np.concatenate([[0.0], np.cumsum(np.cos(heading[:-1]) * _STEP_M)])
    y = start[1] + np.concatenate([[0.0], np.cumsum(np.sin(heading[:-1]) * _STEP_M)])
    return Road(x, y, heading, lanes, parking=True)


def crossing_road(road: Road, station: float, half_length: float) -> Road:
    """A straight two-lane road across another at a station; its middle lies on the crossing."""
    x, y, _, yaw = road.pose(station, 0.0)
    heading = yaw + np.pi / 2
    s = np.arange(int(2 * half_length / _STEP_M) + 1) * _STEP_M - half_length
    return Road(x + s * np.cos(heading), y + s * np.sin(heading), np.full(len(s), heading), 1, parking=False)


@dataclass(frozen=True)
class Ground:
    """The ground seen from above: a picture, and what lies where."""

    origin: np.ndarray  # [2] global x, y of the first texel's corner, m
    pyramid: tuple[np.ndarray, ...]  # BGR pictures [n,n,3]; level k has texels of TEXEL_M * 2^k
    labels: np.ndarray  # [m,m] uint8 of Label or MARKING, cells of LABEL_M; rows along y

    def label_at(self, points: np.ndarray) -> np.ndarray:
        """Labels [P] under points [P,2] (global, m); terrain beyond the picture."""
        cell = np.floor((points - self.origin) / LABEL_M).astype(np.int64)
        inside = ((cell >= 0) & (cell < self.labels.shape[0])).all(axis=1)
        labels = np.full(len(points), int(Label.TERRAIN), dtype=np.uint8)
        labels[inside] = self.labels[cell[inside, 1], cell[inside, 0]]
        return labels

    @property
    def size_m(self) -> float:
        return self.labels.shape[0] * LABEL_M


class GroundPainter:
    """Draws roads and what is painted on them, into the picture and the labels at once."""

    def __init__(
        self, low: np.ndarray, high: np.ndarray, rng: np.random.Generator, wet: bool, dark_lamps: bool
    ) -> None:
        size = int(np.ceil(max(high - low) / LABEL_M / 16)) * 16
        self.origin = np.asarray(low, dtype=np.float64)
        self.rng, self.wet, self.dark_lamps = rng, wet, dark_lamps
        paved = rng.random() < 0.35
        base = (142, 150, 155) if paved else (58, 104, 96)
        self.texture = np.full((2 * size, 2 * size, 3), base, dtype=np.uint8)
        self.labels = np.full((size, size), int(Label.TERRAIN), dtype=np.uint8)
        self.lamps: list[np.ndarray] = []

    def fill(self, outline: np.ndarray, colour: tuple[float, float, float], label: int | None) -> None:
        """Fill an outline [n,2] (global, m)."""
        local = outline - self.origin
        shift = 4
        texel = np.round((local / TEXEL_M - 0.5) * 2**shift).astype(np.int32)
        cv2.fillPoly(self.texture, [texel], colour, cv2.LINE_AA, shift)
        if label is not None:
            cell = np.round((local / LABEL_M - 0.5) * 2**shift).astype(np.int32)
            cv2.fillPoly(self.labels, [cell], (int(label),), cv2.LINE_8, shift)

    def pavement(self, road: Road) -> None:
        """Pavement and kerbs on both sides."""
        grey = float(self.rng.uniform(140, 170))
        for side in (-1, 1):
            outline = road.strip(0, road.length, side * road.kerb, side * road.pavement_edge)
            self.fill(outline, (grey, grey * 1.02, grey * 1.03), Label.SIDEWALK)
            for s in np.arange(0, road.length, 1.5):  # joints between slabs
                self.fill(road.strip(s, s + 0.05, side * road.kerb, side * road.pavement_edge), (grey * 0.8,) * 3, None)
            for k, s in enumerate(np.arange(0, road.length, 2.0)):
                tone = 190.0 if k % 2 else 95.0
                kerb = road.strip(s, s + 2.0, side * (road.kerb - 0.02), side * (road.kerb + 0.2))
                self.fill(kerb, (tone, tone, tone), None)

    def asphalt(self, road: Road) -> None:
        """The carriageway, with patches, wheel tracks and covers."""
        tone = float(self.rng.uniform(78, 108)) * (0.72 if self.wet else 1.0)
        self.fill(road.strip(0, road.length, -road.kerb, road.kerb), (tone * 1.02, tone, tone * 0.98), Label.ROAD)
        for _ in range(int(road.length / 12)):
            s, d = self.rng.uniform(0, road.length), self.rng.uniform(-road.kerb + 1, road.kerb - 1)
            shade = tone * self.rng.uniform(0.78, 1.15)
            size = self.rng.uniform([1.0, 0.5], [7.0, 1.6])
            self.fill(road.strip(s, s + size[0], d, d + size[1]), (shade, shade, shade), None)
        for lane in range(-road.lanes, road.lanes):
            for track in (0.9, 2.6):
                d = lane * LANE_M + track
                self.fill(road.strip(0, road.length, d - 0.18, d + 0.18), (tone * 0.93,) * 3, None)

    def markings(self, road: Road, gaps: list[tuple[float, float]]) -> None:
        """Lane lines, leaving out stretches (s0, s1)."""
        white, yellow = (220.0, 222.0, 222.0), (60.0, 180.0, 220.0)

        def line(s0: float, s1: float, d: float, colour: tuple[float, float, float], width: float = 0.14) -> None:
            if not any(a < s1 and s0 < b for a, b in gaps):
                self.fill(road.strip(s0, s1, d - width / 2, d + width / 2), colour, MARKING)

        for s in np.arange(0, road.length, 4.0):
            for d in (-0.12, 0.12):
                line(s, s + 4.0, d, yellow)
            for side in (-1, 1):
                line(s, s + 4.0, side * road.lane_edge, white)
        for s in np.arange(0, road.length, 9.0):
            for lane in range(1, road.lanes):
                for side in (-1, 1):
                    line(s, s + 3.0, side * lane * LANE_M, white)
        if road.parking:
            for s in np.arange(0, road.length, 6.0):
                for side in (-1, 1):
                    if not any(a < s < b for a, b in gaps):
                        bay = road.strip(s, s + 0.12, side * road.lane_edge, side * (road.kerb - 0.1))
                        self.fill(bay, white, MARKING)

    def zebra(self, road: Road, station: float) -> None:
        """A pedestrian crossing, 3.4 m long, and no stop line."""
        for d in np.arange(-road.kerb + 0.3, road.kerb - 0.5, 1.0):
            self.fill(road.strip(station - 1.7, station + 1.7, d, d + 0.5), (222, 224, 224), MARKING)

    def stop_line(self, road: Road, station: float, side: int) -> None:
        """A stop line across the lanes of one side (1: left of the centre line, -1: right)."""
        outline = road.strip(station - 0.2, station + 0.2, side * 0.3, side * road.lane_edge)
        self.fill(outline, (222, 224, 224), MARKING)

    def arrow(self, road: Road, station: float, d: float, direction: int) -> None:
        """A straight-ahead arrow in a lane."""
        shape = np.array([(-2, 0.08), (0.6, 0.08), (0.6, 0.35), (2, 0), (0.6, -0.35), (0.6, -0.08), (-2, -0.08)])
        x, y, _, yaw = road.pose(station, d, direction)
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        self.fill(shape @ turn.T + [x, y], (215, 217, 217), MARKING)

    def finish(self, light: tuple[float, float, float]) -> Ground:
        """Grain, dirt and light (BGR gain; at night the street lamps' too); then the smaller level of the picture."""
        size = self.texture.shape[0]
        tile = self._grain(512)
        repeat = -(-size // 512)
        grain = np.tile(tile, (repeat, repeat))[:size, :size]
        stains = cv2.resize(self.rng.uniform(0.88, 1.1, (size // 64, size // 64)).astype(np.float32), (size, size))
        gain = grain * stains
        if self.dark_lamps:
            gain *= self._lamp_light(size)
        for channel in range(3):
            self.texture[..., channel] = np.clip(self.texture[..., channel] * (gain * light[channel]), 0, 255).astype(
                np.uint8
            )
        half = cv2.resize(self.texture, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
        return Ground(self.origin, (self.texture, half), self.labels)

    def _grain(self, n: int) -> np.ndarray:
        fine = self.rng.normal(0, 0.05, (n, n)).astype(np.float32)
        coarse = cv2.resize(self.rng.normal(0, 0.04, (n // 4, n // 4)).astype(np.float32), (n, n))
        return np.asarray(1.0 + fine + coarse, dtype=np.float32)

    def _lamp_light(self, size: int) -> np.ndarray:
        small = np.full((size // 8, size // 8), 1.0, dtype=np.float32)
        rows, columns = np.indices(small.shape, dtype=np.float32)
        for x, y in self.lamps:
            column, row = (np.array([x, y]) - self.origin) / (8 * TEXEL_M)
            small += 2.6 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * (5.0 / (8 * TEXEL_M)) ** 2))
        return cv2.resize(np.minimum(small, 4.0), (size, size))
