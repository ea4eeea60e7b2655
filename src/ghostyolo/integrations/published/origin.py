"""Whose a published file is."""

from __future__ import annotations

from ghostyolo.files import sha256_of
from ghostyolo.metadata import Origin
from ghostyolo.models.pickles import Published


def origin_of(title: str, maker: str, licence: str, url: str, published: Published) -> Origin:
    """Describe a published file; what it says of its licence itself comes first."""
    return Origin(
        name=title,
        maker=maker,
        licence=published.licence or licence,
        url=url,
        file=published.path.name,
        sha256=sha256_of(published.path),
    )
