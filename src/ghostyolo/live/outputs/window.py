"""A window on this machine's display.

Tk comes with Python; the OpenCV of the device's install has no windows. Tk belongs to the main thread, so the watch
calls :meth:`Window.refresh` from there.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.errors import OutputError
from ghostyolo.live.outputs.output import Output
from ghostyolo.live.prediction import LivePrediction

_MOST_OF_THE_SCREEN = 0.8


class Window(Output):
    """Shows the newest frame of each source, side by side.

    Closing it ends the watch.

    Args:
        sources: how many there are.

    Attributes:
        closed: the user closed it.

    Raises:
        OutputError: there is no display, or Python has no Tk.
    """

    label = "window"

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.closed = False
        self._pictures: list[npt.NDArray[np.uint8] | None] = [None] * sources
        self._changed_picture = False
        try:
            import tkinter

            self._root: Any = tkinter.Tk()
        except ImportError as error:
            raise OutputError("a window needs Tk: install python3-tk, or use --serve") from error
        except Exception as error:  # TclError, whose module may be missing
            raise OutputError("there is no display to show a window on: use --serve, or --video") from error
        self._root.title("ghostyolo watch")
        self._root.configure(background="black")
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._root.bind("<Escape>", lambda event: self._close())
        self._root.bind("q", lambda event: self._close())
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._photo: Any = None

    def write(self, prediction: LivePrediction) -> None:
        """Draw the frame, for the next refresh."""
        self._pictures[prediction.source] = prediction.drawn()
        self._changed_picture = True

    def refresh(self) -> None:
        """Show what is new and answer the user; for the main thread."""
        from PIL import Image, ImageTk

        if self.closed:
            return
        if self._changed_picture:
            self._changed_picture = False
            width = int(self._root.winfo_screenwidth() * _MOST_OF_THE_SCREEN)
            height = int(self._root.winfo_screenheight() * _MOST_OF_THE_SCREEN)
            self._photo = ImageTk.PhotoImage(Image.fromarray(tiled(self._pictures, width, height)))
            self._label.configure(image=self._photo)
        self._root.update()

    def close_window(self) -> None:
        """Take it from the screen; for the main thread."""
        if not self.closed:
            self._close()

    def _close(self) -> None:
        self.closed = True
        self._photo = None
        self._root.destroy()


def tiled(pictures: list[npt.NDArray[np.uint8] | None], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Lay pictures in a grid that fits into width x height.

    They are made smaller where they must, never larger.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    known = [picture for picture in pictures if picture is not None]
    tile_width = min(width // columns, max(picture.shape[1] for picture in known))
    tile_height = min(height // rows, max(picture.shape[0] for picture in known))
    canvas = np.zeros((rows * tile_height, columns * tile_width, 3), np.uint8)
    for place, picture in enumerate(pictures):
        if picture is None:
            continue
        scale = min(tile_width / picture.shape[1], tile_height / picture.shape[0])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else picture
        top, left = place // columns * tile_height, place % columns * tile_width
        small = small[:tile_height, :tile_width]
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas
