"""Names, defaults and meanings of what a watch can be told."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from ghostyolo.config import StrictModel

VIDEO_KINDS = (".mp4", ".mkv")


class WatchSettings(StrictModel):
    """How sources are read, and where the results go."""

    every_frame: bool = Field(
        default=False, description="of video files look at every frame, as fast as it goes; nothing is dropped"
    )
    retries: int | None = Field(
        default=None, ge=0, description="give a lost source up after so many tries in a row; else never"
    )
    timeout: float = Field(default=10.0, gt=0, description="seconds without a frame after which a stream is lost")
    decoder: str = Field(default="cpu", description="what decodes: cpu, or a device of FFmpeg such as cuda or vaapi")
    track: str | None = Field(
        default=None, description="follow objects: bytetrack, ocsort, botsort, cbiou or sort; counting needs it"
    )
    track_options: dict[str, Any] = Field(default={}, description="settings of the tracker by its own names")
    lines: list[str] = Field(default=[], description="count what crosses this line: [NAME=]x1,y1,x2,y2")
    zones: list[str] = Field(default=[], description="count what enters this zone: [NAME=]x1,y1,x2,y2,x3,y3,...")
    regions: str | None = Field(default=None, description="a YAML file of lines and zones")
    counts: str | None = Field(default=None, description="append a CSV row of each count and minute")
    video: str | None = Field(default=None, description="write annotated video: a name with .mp4 or .mkv")
    json_lines: str | None = Field(default=None, description="append a JSON line for each frame; - is standard output")
    csv: str | None = Field(default=None, description="append a CSV row for each object")
    serve: str | None = Field(default=None, description="show video and figures on a page at HOST:PORT")
    show: bool = Field(default=False, description="show the video in a window")

    @field_validator("video")
    @classmethod
    def _is_video(cls, value: Any) -> Any:
        if value is not None and not value.lower().endswith(VIDEO_KINDS):
            raise ValueError("a video's name ends with .mp4 or .mkv: of these, what is written stays playable")
        return value
