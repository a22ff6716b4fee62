"""Frames, boxes, the BEV grid and the pinhole camera: the only place that knows what "forward" means."""

from perception.geometry.boxes import box_corners, box_from_global, boxes_to_global, cuboid_corners, transform_boxes
from perception.geometry.camera import (
    compose_image_from_lidar,
    focal_lengths,
    homogeneous_intrinsics,
    image_affine,
    in_image,
    pixel_centres,
    project,
    unproject,
)
from perception.geometry.grid import BEVGrid
from perception.geometry.precision import without_autocast
from perception.geometry.transforms import (
    invert,
    invert_affine,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
    rotation_z,
    transform_points,
    wrap_angle,
    yaw_of,
)

__all__ = [
    "BEVGrid",
    "box_corners",
    "box_from_global",
    "boxes_to_global",
    "compose_image_from_lidar",
    "cuboid_corners",
    "focal_lengths",
    "homogeneous_intrinsics",
    "image_affine",
    "in_image",
    "invert",
    "invert_affine",
    "pixel_centres",
    "project",
    "quaternion_from_rotation",
    "rigid",
    "rotation_from_quaternion",
    "rotation_z",
    "transform_boxes",
    "transform_points",
    "unproject",
    "without_autocast",
    "wrap_angle",
    "yaw_of",
]
