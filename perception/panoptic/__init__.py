"""Panoptic segmentation from points: data, training and scores of `perception.camera.panoptic`."""
