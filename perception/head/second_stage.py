"""The second stage: what the head found is looked at again, in the map and in the images, where it is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.geometry.precision import Float32Module, without_autocast
from perception.head.box_code import VELOCITY_UNIT_MPS, cell_position
from perception.head.box_sampling import sample_images, sample_map, side_middles
from perception.head.candidate_matching import match_candidates, shown_classes
from perception.head.center_head import Detections
from perception.head.crop_encoder import CropEncoder, crops_of
from perception.head.object_count import object_count

# Places in a box where the images are read, as shares of its size from the centre: three along each axis, within the
# surface.
PLACES = (-0.4, 0.0, 0.4)
# Added to probabilities, whose logarithms would else have no bound.
FAINT = 0.01
# Channels of a correction: the score's logit; the centre along and across the box and up (m), log of length, width,
# height; cosine (less one) and sine of the turn; velocity along and across the box (VELOCITY_UNIT_MPS).
CHANNELS = 11
SCORE, CENTRE, LOG_SIZE, TURN, VELOCITY = 0, slice(1, 4), slice(4, 7), slice(7, 9), slice(9, 11)
# An optimizer moves weights by about its learning rate a step. In a thousand steps from zero, sums of them come to some
# tenths, which is what boxes are off by; a change of opinion on a score is some whole logits.
SCORE_GAIN = 10.0
# Of crops that show none in the loss; most candidates are of none.
BACKGROUND_WEIGHT = 0.2


class CameraEvidence(NamedTuple):
    """What the cameras show.

    Attributes:
        images: [B,N,3,H,W] RGB 0..255.
        features: [B,N,C,h,w] of the images.
        semantic_logits: [B,N,classes+1,h,w], the last one background.
        image_from_lidar: [B,N,4,4].
        camera_mask: [B,N] bool.
        stride: pixels of the images per cell of features and logits.
    """

    images: Tensor
    features: Tensor
    semantic_logits: Tensor
    image_from_lidar: Tensor
    camera_mask: Tensor
    stride: int


class Evidence(NamedTuple):
    """What is known of each candidate.

    Attributes:
        numbers: [B,K,2 classes + 12] of the candidate itself.
        bev: [B,K,5 C] of the map at its centre and the middles of its sides.
        image: [B,K,27,C] of the images at its places, zero where no camera sees them; None without cameras.
        classes: [B,K,classes + 2] class probabilities of the images, background and the share of the places that are
            seen; None without cameras.
        crops: [B,K,3,S,S] of the images, RGB 0..255, each box brought to one size; None without cameras.
        shapes: [B,K,3] of the crops (`crops_of`); None without cameras.
    """

    numbers: Tensor
    bev: Tensor
    image: Tensor | None = None
    classes: Tensor | None = None
    crops: Tensor | None = None
    shapes: Tensor | None = None


class Corrections(NamedTuple):
    """Attributes:
    by_all, by_map: [B,K,CHANNELS], corrections of every candidate by all that is known and by all but the images.
    crop_logits: [B,K,classes+1] of the crops, the last one background; None without cameras.
    cropped: [B,K] bool, which candidates have a crop; None without cameras.
    """

    by_all: Tensor
    by_map: Tensor
    crop_logits: Tensor | None = None
    cropped: Tensor | None = None


class SecondStage(Float32Module):
    """Corrects scores and boxes of candidates, as the second stage of CenterPoint does (Yin et al., CVPR 2021,
    section 4.2): by the map at a box's centre and the middles of its sides. Where there are cameras, what the images
    show counts too: at 27 places in the box the classes, as PointPainting (Vora et al., CVPR 2020) tells them to LiDAR
    points, and the features; and the picture in the box, brought to one size, as R-CNN sees its proposals (Girshick et
    al., CVPR 2014).

    The images add to what the map says, which is learnt as if there were none: a candidate that no camera sees is
    corrected by the map alone. Nothing of it is trained through: the first stage learns as if there were no second.

    Args:
        classes: number of classes.
        in_channels: channels of the decoded map.
        image_channels: channels of the image features; 0 without cameras.
        channels: width of the hidden layers.
        crop_variation, crop_dropout: how much crops vary in training (`crops_of`) and how much of them is left out
            (CropEncoder).
    """

    places: Tensor

    def __init__(
        self,
        classes: int,
        in_channels: int,
        image_channels: int = 0,
        channels: int = 128,
        crop_variation: float = 1.0,
        crop_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.crop_variation = crop_variation
        self.classes, self.in_channels, self.image_channels = classes, in_channels, image_channels
        line = torch.tensor(PLACES)
        self.register_buffer("places", torch.cartesian_prod(line, line, line), persistent=False)
        numbers = 2 * classes + 12
        self.norm = nn.BatchNorm1d(numbers, affine=False)
        self.bev = nn.Linear(5 * in_channels, channels)
        self.by_map = correction_layers(numbers + channels, channels)
        self.images = (
            ImageCorrection(classes, numbers + channels, image_channels, len(self.places), channels, crop_dropout)
            if image_channels
            else None
        )

    @torch.no_grad()
    @without_autocast
    def evidence(
        self,
        found: Detections,
        heatmap: Tensor,  # [B,classes,Y,X] logits of the first stage
        bev: Tensor,  # [B,C,Y,X], the decoded map
        grid: BEVGrid,  # the cells of both
        lidar_mask: Tensor,  # [B] bool
        cameras: CameraEvidence | None = None,
    ) -> Evidence:
        """What is known of the candidates."""
        boxes = found.boxes
        numbers = torch.cat(
            (
                self._opinions(boxes, heatmap, grid),
                F.one_hot(found.labels, self.classes).float(),
                _numbers(boxes, grid),
                lidar_mask[:, None, None].float().expand(-1, boxes.shape[1], 1),
            ),
            dim=-1,
        )
        on_map = sample_map(bev.float(), side_middles(boxes), grid).flatten(2)
        if cameras is None or self.images is None:
            return Evidence(numbers, on_map)
        shares = cameras.semantic_logits.float().softmax(dim=2)
        maps = torch.cat((shares, cameras.features.float()), dim=2)
        shown, seen = sample_images(
            boxes, maps, cameras.image_from_lidar, cameras.camera_mask, self.places, cameras.stride
        )
        count = seen.sum(dim=2, keepdim=True)  # [B,K,1]
        mean = shown[..., : self.classes + 1].sum(dim=2) / count.clamp(min=1)
        named, background = mean.split((self.classes, 1), dim=-1)
        known = torch.cat(((named + FAINT).log(), background, count / len(self.places)), dim=-1)
        crops, shapes = crops_of(
            boxes, cameras.images, cameras.image_from_lidar, cameras.camera_mask, self.crop_variation * self.training
        )
        return Evidence(numbers, on_map, shown[..., self.classes + 1 :], known, crops, shapes)

    def _opinions(self, boxes: Tensor, heatmap: Tensor, grid: BEVGrid) -> Tensor:
        """The heatmap's greatest logit of every class around the boxes' centres, [B,K,classes]."""
        _, rows, columns = grid.shape
        place = cell_position(boxes, grid).long()
        flat = place[..., 1].clamp(0, rows - 1) * columns + place[..., 0].clamp(0, columns - 1)
        around = F.max_pool2d(heatmap.float(), 3, stride=1, padding=1).flatten(2)
        return around.gather(2, flat[:, None].expand(-1, self.classes, -1)).transpose(1, 2)

    @without_autocast
    def forward(
        self,
        numbers: Tensor,
        bev: Tensor,
        image: Tensor | None = None,
        classes: Tensor | None = None,
        crops: Tensor | None = None,
        shapes: Tensor | None = None,
    ) -> Corrections:
        """Corrections of candidates by the fields of their Evidence."""
        count = numbers.shape[:2]
        known = torch.cat((self.norm(numbers.flatten(0, 1)), F.relu(self.bev(bev.flatten(0, 1)))), dim=-1)
        by_map = self.by_map(known).unflatten(0, count)
        if self.images is None or image is None or classes is None or crops is None or shapes is None:
            return Corrections(by_map, by_map)
        # Detached: what the images add teaches the correction by the map nothing.
        shown = (part.flatten(0, 1) for part in (image, classes, crops, shapes))
        added, logits = (part.unflatten(0, count) for part in self.images(known.detach(), *shown))
        cropped = shapes[..., -1] > 0
        seen = cropped | (classes[..., -1] > 0)
        return Corrections(by_map.detach() + added * seen[..., None], by_map, logits, cropped)

    def loss(
        self, corrections: Corrections, found: Detections, boxes: Tensor, labels: Tensor, sample: Tensor
    ) -> dict[str, Tensor]:
        """Over the candidates that have a score: loss_rescore, binary cross-entropy of the scores, and loss_refine, the
        L1 distance of the boxes of pairs; where the images have corrected too, the sum of both corrections' losses, and
        loss_crop, cross-entropy of the crops' classes."""
        found_by = match_candidates(found, boxes, labels, sample)
        target = correction_target(found.boxes, found_by.boxes)
        counts = (found.scores > 0).float()
        paired = counts * found_by.paired
        candidates = object_count(counts.sum(), counts.device)
        pairs = object_count(paired.sum(), counts.device)
        losses = {"loss_rescore": counts.new_zeros(()), "loss_refine": counts.new_zeros(())}
        by_all, by_map, crop_logits, cropped = corrections
        for correction in (by_map,) if by_all is by_map else (by_all, by_map):
            logits = corrected_logits(found.scores, correction)
            cross_entropy = F.binary_cross_entropy_with_logits(logits, found_by.shares, reduction="none")
            # A velocity that is not known is NaN.
            known = target.isfinite()
            gap = (correction[..., 1:] - target.where(known, 0.0)).abs() * known
            losses["loss_rescore"] = losses["loss_rescore"] + (cross_entropy * counts).sum() / candidates
            losses["loss_refine"] = losses["loss_refine"] + (gap.mean(dim=-1) * paired).sum() / pairs
        if crop_logits is not None and cropped is not None:
            shown = shown_classes(found.boxes, boxes, labels, sample, self.classes)
            weight = torch.where(shown == self.classes, BACKGROUND_WEIGHT, 1.0) * (cropped & (shown >= 0))
            cross_entropy = F.cross_entropy(crop_logits.flatten(0, 1), shown.clamp(min=0).flatten(), reduction="none")
            weighted = (cross_entropy * weight.flatten()).sum()
            losses["loss_crop"] = weighted / object_count(weight.sum(), weight.device)
        return losses


class ImageCorrection(nn.Module):
    """What the images add to the correction by the map.

    Args:
        classes: number of classes.
        known: how many numbers the correction by the map is made from.
        in_channels: channels of the image features.
        places: places of a box where the images are read.
        channels: width of the hidden layers.
        crop_dropout: of the CropEncoder.
    """

    def __init__(
        self, classes: int, known: int, in_channels: int, places: int, channels: int, crop_dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(classes + 2, affine=False)
        # Without a bias: a place that no camera sees stays zero.
        self.place = nn.Linear(in_channels, channels // 4, bias=False)
        self.box = nn.Linear(places * (channels // 4), channels)
        self.crop = CropEncoder(channels, dropout=crop_dropout)
        self.crop_classes = nn.Linear(channels, classes + 1)
        self.crop_norm = nn.BatchNorm1d(classes + 4, affine=False)
        self.layers = correction_layers(known + 2 * channels + 2 * classes + 6, channels)

    def forward(
        self, known: Tensor, image: Tensor, classes: Tensor, crops: Tensor, shapes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[M,CHANNELS] of known [M,known] and the fields of Evidence, and class logits [M,classes+1] of the crops."""
        places = F.relu(self.place(F.layer_norm(image, image.shape[-1:])))
        box = F.relu(self.box(places.flatten(1)))
        seen = shapes[:, -1:] > 0
        crop = self.crop(crops, seen.squeeze(1))
        logits = self.crop_classes(crop)
        named = (logits.detach().softmax(dim=-1) + FAINT).log() * seen
        of_crop = self.crop_norm(torch.cat((named, shapes), dim=-1))
        return self.layers(torch.cat((known, self.norm(classes), box, crop * seen, of_crop), dim=-1)), logits


def correction_layers(inputs: int, channels: int) -> nn.Sequential:
    """Three layers to CHANNELS; at first the corrections are zero."""
    layers = nn.Sequential(
        nn.Linear(inputs, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, CHANNELS)
    )
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers


def corrected_logits(scores: Tensor, correction: Tensor) -> Tensor:
    """Logits [B,K] of scores [B,K] after a correction [B,K,CHANNELS]. They expect the share of MATCH_DISTANCES_M within
    which a candidate finds an object."""
    return scores.detach().logit(eps=1e-6) + SCORE_GAIN * correction[..., SCORE].float()


def corrected(found: Detections, correction: Tensor) -> Detections:
    """The candidates after a correction [B,K,CHANNELS], by descending score; one without a score stays without."""
    scores = torch.where(found.scores > 0, corrected_logits(found.scores, correction).sigmoid(), 0.0)
    scores, order = scores.sort(dim=1, descending=True)
    boxes = corrected_boxes(found.boxes, correction.float())
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, boxes.shape[2]))
    return Detections(boxes, scores, found.labels.gather(1, order))


def corrected_boxes(boxes: Tensor, correction: Tensor) -> Tensor:
    """Boxes [B,K,9] after a correction [B,K,CHANNELS]."""
    cos, sin = boxes[..., 6:7].cos(), boxes[..., 6:7].sin()
    shift = _turned(correction[..., CENTRE][..., :2], cos, sin)
    turn = correction[..., TURN]
    yaw = boxes[..., 6:7] + torch.atan2(turn[..., 1:], 1 + turn[..., :1])
    return torch.cat(
        (
            boxes[..., :2] + shift,
            boxes[..., 2:3] + correction[..., CENTRE][..., 2:],
            # No network is off by more than e: the clamp keeps what has not learnt yet finite.
            boxes[..., 3:6] * correction[..., LOG_SIZE].clamp(-1, 1).exp(),
            torch.atan2(yaw.sin(), yaw.cos()),
            boxes[..., 7:9] + VELOCITY_UNIT_MPS * _turned(correction[..., VELOCITY], cos, sin),
        ),
        dim=-1,
    )


def correction_target(boxes: Tensor, objects: Tensor) -> Tensor:
    """The correction [B,K,CHANNELS - 1], without the score's, that makes boxes [B,K,9] those of objects [B,K,9]; NaN
    where a velocity is."""
    cos, sin = boxes[..., 6:7].cos(), boxes[..., 6:7].sin()
    gap = objects - boxes
    return torch.cat(
        (
            _turned(gap[..., :2], cos, -sin),
            gap[..., 2:3],
            (objects[..., 3:6] / boxes[..., 3:6].clamp(min=0.05)).clamp(min=0.05).log().clamp(-1, 1),
            gap[..., 6:7].cos() - 1,
            gap[..., 6:7].sin(),
            _turned(gap[..., 7:9], cos, -sin) / VELOCITY_UNIT_MPS,
        ),
        dim=-1,
    )


def _turned(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Vectors [...,2] turned by the angle of cos and sin [...,1]."""
    x, y = vectors[..., :1], vectors[..., 1:]
    return torch.cat((x * cos - y * sin, x * sin + y * cos), dim=-1)


def _numbers(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """What boxes [B,K,9] say of themselves, [B,K,11]."""
    yaw, azimuth = boxes[..., 6], torch.atan2(boxes[..., 1], boxes[..., 0])
    seen_from = azimuth - yaw
    along = _turned(boxes[..., 7:9], yaw.cos()[..., None], -yaw.sin()[..., None]) / VELOCITY_UNIT_MPS
    columns = (
        torch.linalg.vector_norm(boxes[..., :2], dim=-1) / grid.x_range_m[1],
        boxes[..., 2],
        yaw.cos(),
        yaw.sin(),
        seen_from.cos(),
        seen_from.sin(),
    )
    return torch.cat((boxes[..., 3:6].clamp(min=0.1).log(), torch.stack(columns, dim=-1), along), dim=-1)
