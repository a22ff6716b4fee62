"""Camera and LiDAR 3D detection in bird's-eye view.

Importing this package is cheap: it loads nothing. The core (geometry, ops, camera, lidar, fusion, head, model, export)
needs only numpy and torch; the harness (detector, datasets, evaluation, engine, visualization) needs mmengine and
mmdet3d.
"""

__version__ = "0.1.0"
