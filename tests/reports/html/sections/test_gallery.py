"""What was added to an image, in colours that do not saturate."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from robbench.reports.html.data import Example, ReportData
from robbench.reports.html.sections.gallery import gallery, signed


def test_nothing_is_white_and_the_largest_change_alone_is_full_colour():
    """Brighter is red, darker blue, half as much half as strong, whatever the size of the noise."""
    difference = np.array([[[0.0, 0.002, 0.001, -0.002]]], np.float32)
    nothing, most, half, darker = signed(difference)[:, 0].T
    assert nothing.tolist() == [1, 1, 1]
    assert most[0] > most[2]
    assert darker[2] > darker[0]
    assert np.allclose(1 - half, (1 - most) / 2)
    assert np.allclose(signed(difference), signed(100 * difference))


def test_a_pixel_shows_its_channel_that_changed_most():
    """Changes of opposite sign in two channels do not cancel."""
    difference = np.zeros((3, 1, 2), np.float32)
    difference[:, 0, 0] = 0.1, -0.1, 0.09
    difference[:, 0, 1] = 0.01, -0.1, 0.0
    brighter, darker = signed(difference)[:, 0].T
    assert brighter[0] > brighter[2]
    assert darker[2] > darker[0]


def test_sizes_are_in_255ths_where_the_budget_is(add_run):
    """Of linf:8/255, not of linf:0.15; the picture is a PNG of the same colours."""
    clean = np.full((1, 4, 4), 0.5, np.float32)
    worst = clean.copy()
    worst[0, 0, 0] += 2 / 255
    cards = []
    for run_id, eps in (("a" * 12, 8 / 255), ("b" * 12, 0.15)):
        run = add_run(run_id, eps=eps)[1]
        shown = Example(run_id, 7, "3", "3", "5", "linf", 2 / 255, "pgd", clean, worst)
        (block,) = gallery(ReportData([run], examples=[shown])).blocks
        cards.append(block.cards[0])
    assert cards[0].pictures[2].label == "added: up to 2/255"
    assert "at linf 2/255" in cards[0].text
    assert cards[1].pictures[2].label == "added: up to 0.0078"
    png = base64.b64decode(cards[0].pictures[2].address.partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert (pixels[1, 1] == 255).all()
    assert pixels[0, 0, 0] > pixels[0, 0, 2]
