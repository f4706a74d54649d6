"""Annotations as labelling tools write them: COCO, CVAT, YOLO, MOT, Pascal VOC, and masks."""
