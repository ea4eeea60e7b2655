"""Readers and writers of data sets, one file a layout.

YOLO, COCO and Pascal VOC.
"""

from ghostyolo.data.formats.load import load_dataset, load_split
from ghostyolo.data.formats.write import image_folder, write_annotations, write_dataset

__all__ = ["image_folder", "load_dataset", "load_split", "write_annotations", "write_dataset"]
