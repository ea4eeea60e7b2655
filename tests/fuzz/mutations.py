"""Damage bytes as disks, networks and hands do, from a seed."""

from __future__ import annotations

import random


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one to three faults: cut, overwritten, lost, doubled, bits turned, or something else's."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(max(len(data), 1))
        stop = min(len(data), start + rng.choice((1, 2, 4, 16, 200, 5000)))
        kind = rng.randrange(8)
        if kind == 0:
            data = data[:start]
        elif kind == 1:
            data = data[:start] + rng.randbytes(stop - start) + data[stop:]
        elif kind == 2:
            data = data[:start] + data[stop:]
        elif kind == 3:
            data = data[:stop] + data[start:]
        elif kind == 4:
            data = data[:start] + bytes(stop - start) + data[stop:]
        elif kind == 5 and data:
            data = data[:start] + bytes((data[start] ^ (1 << rng.randrange(8)),)) + data[start + 1 :]
        elif kind == 6:
            data += rng.randbytes(stop - start)
        else:
            data = data[:start] + b"\xff" * (stop - start) + data[stop:]
    return data
