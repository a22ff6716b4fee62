"""A second look at what was found: boxes are scored again by what the images show inside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.geometry.precision import Float32Module, without_autocast
from perception.head.box_code import cell_position
from perception.head.center_head import Detections
from perception.head.object_count import object_count

# Places in a box, as shares of its size from the centre: three along each axis, within the surface.
PLACES = (-0.35, 0.0, 0.35)
# Centre distances within which nuScenes counts a detection (Caesar et al., CVPR 2020, section 3.1).
MATCH_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
# Added to probabilities, whose logarithms would else have no bound.
FAINT = 0.01
# An optimizer moves weights by about its learning rate a step. In a thousand steps from zero, sums of them come to some
# tenths; a change of opinion is some whole logits.
GAIN = 10.0


class BoxRescorer(Float32Module):
    """Scores candidates by the classes that the images show where they are, as PointPainting (Vora et al., CVPR 2020)
    tells LiDAR points; but of boxes, which cameras find alone too, and after detection, as the second stage of
    CenterPoint (Yin et al., CVPR 2021) refines scores.

    The same classes are in the fused map, but short trainings hardly use them there (docs/fusion.md). A candidate is
    described by the heatmap's logits of all classes around its centre; the classes' mean probabilities in the images at
    27 places inside the box and the share of those that a camera sees; its size, distance and label; and whether there
    is a LiDAR. Nothing of it is trained through: the first stage learns as if there were no second.

    Args:
        classes: number of classes.
        channels: width of the two hidden layers.
    """

    places: Tensor

    def __init__(self, classes: int, channels: int = 64) -> None:
        super().__init__()
        self.classes = classes
        line = torch.tensor(PLACES)
        self.register_buffer("places", torch.cartesian_prod(line, line, line), persistent=False)
        inputs = 3 * classes + 7
        last = nn.Linear(channels, 1)
        self.layers = nn.Sequential(
            nn.Linear(inputs, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last
        )
        self.norm = nn.BatchNorm1d(inputs, affine=False)
        # At first the scores stay what they are.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @without_autocast
    def forward(
        self,
        found: Detections,
        heatmap: Tensor,  # [B,classes,Y,X] logits of the first stage
        grid: BEVGrid,  # its cells
        semantic_logits: Tensor,  # [B,N,classes+1,h,w], the last one background
        image_from_lidar: Tensor,  # [B,N,4,4]
        camera_mask: Tensor,  # [B,N] bool
        lidar_mask: Tensor,  # [B] bool
        stride: int,  # pixels of the images per cell of semantic_logits
    ) -> Tensor:
        """[B,K] logits: the scores', and what is learnt to be added. Their sum expects the share of MATCH_DISTANCES_M
        within which a candidate finds an object. One that no camera sees keeps its score."""
        with torch.no_grad():
            seen = box_probabilities(found.boxes, semantic_logits, image_from_lidar, camera_mask, self.places, stride)
            x = self._inputs(found, heatmap, grid, seen, lidar_mask)
        change: Tensor = self.layers(self.norm(x.flatten(0, 1)))
        return found.scores.detach().logit(eps=1e-6) + GAIN * change.view(x.shape[:2]) * (seen[..., -1] > 0)

    def _inputs(self, found: Detections, heatmap: Tensor, grid: BEVGrid, seen: Tensor, lidar_mask: Tensor) -> Tensor:
        """What is known of each candidate, [B,K,3 classes + 7] float32; `seen` is box_probabilities'."""
        boxes, _, labels = found
        numbers = (
            self._opinions(boxes, heatmap, grid),
            (seen[..., : self.classes] + FAINT).log(),
            seen[..., self.classes :],
            boxes[..., 3:6].clamp(min=0.1).log(),
            torch.linalg.vector_norm(boxes[..., :2], dim=-1, keepdim=True) / grid.x_range_m[1],
            F.one_hot(labels, self.classes).float(),
            lidar_mask[:, None, None].float().expand(-1, boxes.shape[1], 1),
        )
        return torch.cat(numbers, dim=-1)

    def _opinions(self, boxes: Tensor, heatmap: Tensor, grid: BEVGrid) -> Tensor:
        """The heatmap's greatest logit of every class around the boxes' centres, [B,K,classes]."""
        _, rows, columns = grid.shape
        place = cell_position(boxes, grid).long()
        flat = place[..., 1].clamp(0, rows - 1) * columns + place[..., 0].clamp(0, columns - 1)
        around = F.max_pool2d(heatmap.float(), 3, stride=1, padding=1).flatten(2)
        return around.gather(2, flat[:, None].expand(-1, self.classes, -1)).transpose(1, 2)

    def loss(self, logits: Tensor, found: Detections, boxes: Tensor, labels: Tensor, sample: Tensor) -> Tensor:
        """Binary cross-entropy of logits [B,K] over the candidates that have a score."""
        counts = found.scores > 0
        losses = F.binary_cross_entropy_with_logits(
            logits.float(), match_shares(found, boxes, labels, sample), reduction="none"
        )
        return (losses * counts).sum() / object_count(counts.sum(), losses.device)


def rescored(found: Detections, logits: Tensor) -> Detections:
    """The candidates by the scores of logits [B,K], descending; one without a score stays without."""
    scores = torch.where(found.scores > 0, logits.float().sigmoid(), 0.0)
    scores, order = scores.sort(dim=1, descending=True)
    boxes = found.boxes.gather(1, order[..., None].expand(-1, -1, found.boxes.shape[2]))
    return Detections(boxes, scores, found.labels.gather(1, order))


@without_autocast
def box_probabilities(
    boxes: Tensor,  # [B,K,9], LiDAR frame
    semantic_logits: Tensor,  # [B,N,C,h,w]
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    places: Tensor,  # [P,3], shares of a box's size from its centre along its length, width and height
    stride: int,  # pixels per cell of the logits
) -> Tensor:
    """[B,K,C+1] float32: mean probabilities of the classes at the places of each box, over all cameras that see them
    (zero where none does), and the share of the places that are seen."""
    batch, cameras, classes, height, width = semantic_logits.shape
    count = boxes.shape[1]
    along, across, up = (places * boxes[:, :, None, 3:6]).unbind(-1)  # [B,K,P]
    cos, sin = boxes[:, :, None, 6].cos(), boxes[:, :, None, 6].sin()
    points = torch.stack((along * cos - across * sin, along * sin + across * cos, up), dim=-1) + boxes[:, :, None, :3]
    # Camera by camera: [B,N,K P,3], (u d, v d, d).
    flat = F.pad(points.flatten(1, 2), (0, 1), value=1.0)[:, None]
    projected = flat @ image_from_lidar[:, :, :3].float().transpose(2, 3)
    depth = projected[..., 2]
    # From the image's corner, which is half a pixel before the middle of its first pixel.
    pixels = projected[..., :2] / depth.clamp(min=0.1)[..., None] + 0.5
    size = pixels.new_tensor([width * stride, height * stride])
    seen = (depth > 0.5) & ((pixels >= 0) & (pixels < size)).all(dim=-1) & camera_mask[:, :, None]
    spots = (pixels / size * 2 - 1).clamp(-2, 2).view(batch * cameras, count, -1, 2)
    shares = semantic_logits.float().softmax(dim=2).flatten(0, 1)
    sampled = F.grid_sample(shares, spots, padding_mode="border", align_corners=False)
    counted = seen.view(batch, cameras, 1, count, -1).float()
    sums = (sampled.view(batch, cameras, classes, count, -1) * counted).sum(dim=(1, 4)).transpose(1, 2)
    total = counted.sum(dim=(1, 4)).transpose(1, 2)  # [B,K,1]
    return torch.cat((sums / total.clamp(min=1), (total / places.shape[0]).clamp(max=1)), dim=-1)


@torch.no_grad()
def match_shares(
    found: Detections,
    boxes: Tensor,  # [G,9], LiDAR frame
    labels: Tensor,  # [G] int64
    sample: Tensor,  # [G] int64
) -> Tensor:
    """[B,K] float32: the share of MATCH_DISTANCES_M within which a candidate's centre is from the nearest object of its
    class. Of the candidates that are nearest to one object the best counts, the others have zero."""
    batch, count = found.scores.shape
    device = boxes.device
    gap = torch.linalg.vector_norm(found.boxes[:, :, None, :2] - boxes[:, :2], dim=-1)  # [B,K,G]
    own = (found.labels[..., None] == labels) & (sample == torch.arange(batch, device=device)[:, None, None])
    # A last object that is nowhere: there is always a nearest.
    distance, which = F.pad(gap.masked_fill(~own, torch.inf), (0, 1), value=torch.inf).min(dim=-1)
    matched = (distance < MATCH_DISTANCES_M[-1]) & (found.scores > 0)
    which = torch.where(matched, which, len(boxes))
    # Candidates come by descending score.
    rank = torch.arange(count, device=device).expand(batch, count)
    first = torch.full((len(boxes) + 1,), count, device=device)
    first = first.scatter_reduce(0, which.flatten(), rank.flatten(), "amin")
    within = (distance[..., None] < distance.new_tensor(MATCH_DISTANCES_M)).float().mean(dim=-1)
    return within * (matched & (first[which] == rank))
