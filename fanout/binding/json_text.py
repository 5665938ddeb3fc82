"""JSON as text: what is asked of it, or changed in it, without decoding it.

Rule guarded: values reach the client as their sender wrote them, so nothing here goes through the numbers and objects
of Python. A string keeps its characters whatever is done to its escapes, and everything else keeps its bytes. All of it
takes linear time and a fixed multiple of the text in memory.

Control characters are not allowed in JSON, so they can stand for something in a copy: two of them for an escaped
backslash, after which every backslash that is left begins an escape.
"""

import re
from typing import Final

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Whole pairs, or one half. Both begin with the same letters, which is what makes the search fast.
_HALVES: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}%b(?:%b%b)*+|([89a-fA-F][0-9a-fA-F]{2}))" % (_LOW, _HIGH, _LOW)
)
_MUST_STAY: Final = re.compile(rb"\\(?=u00(?:[01]|22|5[cC]))")  # escapes of control characters, " and \
_WHITE_SPACE: Final = b" \t\r\n"
_WINDOW: Final = 64 * 1024  # bytes that are split at quotation marks at a time, because each part is an object
_SHORTEST: Final = 5  # bytes that writing out one \u escape can save at most
_REPLACEMENT: Final = rb"\ufffd"  # as long as the escape it replaces


def lone_surrogates(text: bytes, limit: int) -> list[int]:
    """Return where escapes stand that are half of a surrogate pair, at most `limit` of them."""
    places: list[int] = []
    for found in _HALVES.finditer(text.replace(rb"\\", b"\0\0")):
        if found[1]:
            places.append(found.start())
            if len(places) >= limit:
                break
    return places


def with_replacements(text: bytes, places: list[int]) -> bytes:
    """Return the text with U+FFFD in the place of each half in `places`; it keeps its length."""
    changed = bytearray(text)
    for place in places:
        changed[place : place + len(_REPLACEMENT)] = _REPLACEMENT
    return bytes(changed)


def has_replacement(text: bytes) -> bool:
    """Return whether `with_replacements` may have put something into this part of a text."""
    return _REPLACEMENT in text


def with_backslashes(text: bytes, places: list[int]) -> bytes:
    """Return the text with one more backslash before each place."""
    return b"\\".join([text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)])


def tokens_of(text: bytes) -> bytes:
    """Return bytes that are equal for two JSON texts exactly when they have the same tokens, written the same way.

    Only the white space between tokens makes no difference.
    """
    if b"\\" in text:
        text = text.replace(rb"\\", b"\0\0").replace(rb"\"", b"\0\1")
    if b" " not in text and b"\n" not in text and b"\t" not in text and b"\r" not in text:
        return text
    pieces: list[bytes] = []
    start, outside = 0, True
    while start <= len(text):
        end = text.find(b'"', start + _WINDOW) if len(text) > start + _WINDOW else -1
        parts = text[start : len(text) if end < 0 else end].split(b'"')
        for position in range(0 if outside else 1, len(parts), 2):
            part = parts[position]
            if len(part) > 1 or part.isspace():  # most are one colon or comma
                parts[position] = part.translate(None, _WHITE_SPACE)
        pieces.append(b'"'.join(parts))
        if end < 0:
            break
        start, outside = end + 1, outside == (len(parts) % 2 == 0)
    return b'"'.join(pieces)


def written_out(text: bytes, wanted: int) -> bytes:
    """Return a JSON text with the characters of its Unicode escapes in UTF-8, if it can then have `wanted` bytes.

    Control characters, quotation marks and backslashes stay escaped: JSON has no other way to write them.
    """
    if len(text) - _SHORTEST * text.count(rb"\u") > wanted:
        return text
    marked = _MUST_STAY.sub(b"\1", text.replace(rb"\\", b"\0\0")).decode()
    characters = marked.encode("raw_unicode_escape").decode("raw_unicode_escape")
    joined = characters.encode("utf-16-le", "surrogatepass").decode("utf-16-le")  # pairs become one character
    return joined.encode().replace(b"\0\0", rb"\\").replace(b"\1", b"\\")
