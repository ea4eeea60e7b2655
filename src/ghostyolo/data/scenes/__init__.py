"""Labelled scenes, of handwritten digits or of hundreds of kinds of objects.

Any number of them, made on the spot.
"""

from ghostyolo.data.scenes.generate import generate_scenes
from ghostyolo.data.scenes.kinds import INGREDIENTS

__all__ = ["INGREDIENTS", "generate_scenes"]
