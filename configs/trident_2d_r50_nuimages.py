"""TridentNet on ResNet-50, nuImages: nuScenes' ten classes in 1600 x 900 images.

tools/create_data.py nuimages --root data/nuimages --version v1.0-train --out data/nuimages/coco2d_train.json
tools/create_data.py nuimages --root data/nuimages --version v1.0-val --out data/nuimages/coco2d_val.json

nuScenes' own images work alike: `tools/create_data.py coco2d` writes their files, and data_root is data/nuscenes/.
"""

from mmengine.config import read_base

from perception.datasets.nuscenes_infos import CLASSES

with read_base():
    from .trident_2d_r50_coco import *  # noqa: F403

data_root = "data/nuimages/"
metainfo = dict(classes=CLASSES)
model.roi_head.bbox_head.update(num_classes=10)  # noqa: F405
# The network sees these images at their own size and COCO's enlarged by about 1.67, so ranges are as much larger.
model.update(valid_ranges=((0, 150), (50, 267), (150, float("inf"))))  # noqa: F405
resize.update(scale=(1600, 900))  # noqa: F405
for loader, split in ((train_dataloader, "train"), (val_dataloader, "val"), (test_dataloader, "val")):  # noqa: F405
    loader.dataset.update(
        data_root=data_root, ann_file=f"coco2d_{split}.json", data_prefix=dict(img=""), metainfo=metainfo
    )
val_evaluator.update(ann_file=f"{data_root}coco2d_val.json")  # noqa: F405
test_evaluator.update(ann_file=f"{data_root}coco2d_val.json")  # noqa: F405
