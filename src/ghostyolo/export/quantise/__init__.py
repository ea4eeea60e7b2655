"""INT8 files: pictures to calibrate on, one quantiser a format, and which layers stay in float.

A quantiser is ``quantise(job: ExportJob, path: Path, calibration: Sequence[(1, C, H, W) float32 in 0..1],
keep_float: frozenset[str]) -> None``. ``keep_float`` holds module paths of the folded network's convolutions, such as
``head.box.0.2``; those, and everything behind the last convolutions (the decoding of boxes), stay in float.
"""
