"""Where the results of a watch go: each output is a thread of its own."""

from ghostyolo.live.outputs.output import Output

__all__ = ["Output"]
