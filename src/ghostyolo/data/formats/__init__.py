"""Readers and writers of data sets, one file a layout.

A file that declares its ``LAYOUT`` is found by scanning this folder; docs/add-a-layout.md shows one. ``load`` tells
layouts apart, ``folder`` lists what lies in a folder, ``entries`` turns what a layout says of pictures into records.
"""

from ghostyolo.data.formats.load import load_dataset
from ghostyolo.data.formats.write import image_folder, write_annotations, write_dataset

__all__ = ["image_folder", "load_dataset", "write_annotations", "write_dataset"]
