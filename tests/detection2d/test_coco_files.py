"""2D boxes as COCO files, against other roads to the same numbers: brute force, the devkit, hand-made tables."""
