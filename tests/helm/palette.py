"""Makes a PNG of true colours smaller: at most 256 colours, each pixel one byte. Pure.

Rule guarded: a picture in the repository stays small. Nothing is installed for it: a picture of lines and text has few
colours, and those that differ by little become one.
"""

import struct
import zlib
from collections import Counter
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MOST: Final = 256
_CHANNELS: Final = {2: 3, 6: 4}  # bytes of a pixel by the type of colour


def with_palette(png: bytes) -> bytes:
    """Return the same picture with a palette; only 8 bits a channel, without interlacing, as browsers write them."""
    chunks = dict[bytes, bytes]()
    at = len(_SIGNATURE)
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        chunks[kind] = chunks.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, _depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    rows = _rows(zlib.decompress(chunks[b"IDAT"]), width, height, _CHANNELS[colour])
    colours, index = _palette(Counter(pixel for row in rows for pixel in row))
    data = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", b"".join(colours)),
        (b"IDAT", zlib.compress(data, 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _rows(data: bytes, width: int, height: int, channels: int) -> list[list[bytes]]:
    stride = width * channels
    before, rows = bytearray(stride), []
    for number in range(height):
        start = number * (stride + 1)
        line = bytearray(data[start + 1 : start + 1 + stride])
        _unfilter(data[start], line, before, channels)
        before = line
        rows.append([bytes(line[at : at + 3]) for at in range(0, stride, channels)])
    return rows


def _unfilter(kind: int, line: bytearray, before: bytearray, step: int) -> None:
    for at in range(len(line)):
        left = line[at - step] if at >= step else 0
        up, corner = before[at], before[at - step] if at >= step else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        elif kind == 4:
            guess = min((left, up, corner), key=lambda each: abs(left + up - corner - each))
        else:
            return
        line[at] = (line[at] + guess) & 0xFF


def _palette(counts: Counter[bytes]) -> tuple[list[bytes], dict[bytes, int]]:
    colours = [pixel for pixel, _count in counts.most_common(_MOST)]
    index = {pixel: number for number, pixel in enumerate(colours)}
    for pixel in counts:
        if pixel not in index:
            near = min(range(len(colours)), key=lambda number: _distance(colours[number], pixel))
            index[pixel] = near
    return colours, index


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
