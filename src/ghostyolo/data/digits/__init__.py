"""Labelled scenes of handwritten digits on photographs.

Any number of them, made on the spot.
"""

from ghostyolo.data.digits.scenes import CLASS_NAMES, generate_digit_scenes

__all__ = ["CLASS_NAMES", "generate_digit_scenes"]
