"""Where the results of a watch go, a thread for each."""

from ghostyolo.live.outputs.output import Output

__all__ = ["Output"]
