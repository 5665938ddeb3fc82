"""The picture of the dashboard: what is drawn follows from the JSON, and the docs say how it was made."""

import re
import struct
import zlib

import pytest

from tests.helm.dashboard import document
from tests.helm.drawing import Series, legend_of, page_of, series_of, size_of, unit_of
from tests.helm.palette import with_palette
from tests.helm.release import CHART

DOCS = CHART.parent / "docs"


def test_every_panel_is_drawn_with_its_title_at_its_place_and_with_its_legends() -> None:
    dashboard = document()
    lines = {
        panel["id"]: [Series(legend_of(target["legendFormat"], {"pod": "<pod>"}), [(0.0, 1.0), (60.0, 4.0)])]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])[:1]
    }
    page = page_of(dashboard, lines, 0.0, 60.0)
    width, height = size_of(dashboard)
    for panel in dashboard["panels"]:
        assert panel["title"] in page
    places = [
        tuple(map(int, found)) for found in re.findall(r"left:(\d+)px;top:(\d+)px;width:(\d+)px;height:(\d+)", page)
    ]
    assert len(places) == len(dashboard["panels"])
    assert all(left + across <= width and top + down <= height for left, top, across, down in places)
    assert "No data" not in page
    assert "<pod>" not in page
    assert "&lt;pod&gt;" in page


def test_a_panel_without_an_answer_says_so() -> None:
    page = page_of(document(), {}, 0.0, 60.0)
    assert page.count("No data") == len([panel for panel in document()["panels"] if panel["type"] != "row"])


def test_lines_have_the_legend_of_their_labels_and_no_points_that_are_no_numbers() -> None:
    row = {"metric": {"class": "send"}, "values": [[1, "2.5"], [2, "NaN"], [3, "+Inf"]]}
    [line] = series_of({"data": {"result": [row]}}, "p99 {{class}}")
    assert (line.legend, list(line.points)) == ("p99 send", [(1.0, 2.5)])


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        ("s", 0.0042, "4.2 ms"), ("s", 300.0, "5 min"), ("bytes", 3 * 2**20, "3 MiB"), ("percentunit", 0.125, "12.5%"),
        ("ops", 1500.0, "1.5K ops/s"), ("reqps", 2.0, "2 req/s"), ("short", 0.0, "0"),
    ],
)  # fmt: skip
def test_a_value_is_written_in_its_unit(unit: str, value: float, shown: str) -> None:
    assert unit_of(unit)(value) == shown


def a_png(rows: list[bytes], width: int) -> bytes:
    """Return a picture of true colours; the first byte of each row is its filter."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_with_a_palette_has_the_same_pixels_whatever_the_filters_were() -> None:
    pixels = [bytes([10, 20, 30, 40, 50, 60]), bytes([11, 22, 33, 44, 55, 66])]
    up = bytes([2]) + bytes((b - a) & 0xFF for a, b in zip(pixels[0], pixels[1], strict=True))
    small = with_palette(a_png([b"\1" + pixels[0][:3] + bytes([30, 30, 30]), up], 2))
    data = zlib.decompress(small[small.index(b"IDAT") + 4 : small.index(b"IEND") - 8])
    palette = small[small.index(b"PLTE") + 4 :]
    found = [palette[3 * number : 3 * number + 3] for row in (data[1:3], data[4:6]) for number in row]
    assert b"".join(found) == b"".join(pixels)


def test_the_picture_in_the_docs_is_small_and_says_how_it_was_made() -> None:
    text = " ".join((DOCS / "operations.md").read_text().split())
    assert "(dashboard.png)" in text
    assert "not a picture of Grafana" in text
    assert (DOCS / "dashboard.png").stat().st_size < 300_000
