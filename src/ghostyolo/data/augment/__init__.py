"""Batched augmentation for detection: mosaic, affine, flips, HSV jitter and mixup as tensors.

``batch.BatchAugment`` does it and needs torch; ``config.AugmentConfig`` says how strongly and does not.
"""
