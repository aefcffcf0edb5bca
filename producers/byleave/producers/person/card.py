"""The pictures of the sign that shows capture, and where on them is what. Pure: Pillow, with the font that it brings.

Closed it is a dot and a word; open, also the sentence of the gate and what the person can do. A full dot and a hollow one are
told apart without colour.
"""

from __future__ import annotations

from textwrap import wrap
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from byleave.producers.person.indicator import Shown

WIDTH, HEAD, LINE, ROW, EDGE = 300, 30, 18, 34, 14
GROUND, ROW_GROUND, INK, QUIET, RED = "#1b1d22", "#2a2d34", "#f4f4f2", "#b9bcc4", "#ff5a4f"
WORDS_MAX, LINES_MAX = 40, 5
ACTIONS = (("open", "Open my page"), ("today", "What was taken today"))
_SCALE = 4
"""The dot is drawn larger and made smaller, which rounds it."""


class Card(NamedTuple):
    """A picture, and each action with the vertical place at which it begins, ROW pixels high."""

    picture: Image.Image
    actions: tuple[tuple[str, int], ...]


def draw(shown: Shown, *, opened: bool) -> Card:
    """The sign as it is to be seen."""
    word = "recorded" if shown.capturing else "not recorded"
    if not opened:
        width = 2 * EDGE + 18 + int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(word, font=_font(14)))
        return Card(_head(shown, word, (width, HEAD)), ())
    lines = wrap(shown.sentence, WORDS_MAX)[:LINES_MAX]
    actions = (("resume", "Resume") if shown.paused else ("pause", "Pause, for as long as I like"), *ACTIONS)
    top = HEAD + 6 + LINE * len(lines) + 8
    picture = _head(shown, word, (WIDTH, top + ROW * len(actions) + 8))
    pen = ImageDraw.Draw(picture)
    for n, line in enumerate(lines):
        pen.text((EDGE, HEAD + 6 + LINE * n), line, QUIET, _font(13))
    places = []
    for n, (name, label) in enumerate(actions):
        y = top + ROW * n
        pen.rectangle((8, y, WIDTH - 9, y + ROW - 5), ROW_GROUND)
        pen.text((EDGE + 4, y + (ROW - 4) // 2), label, INK, _font(14), anchor="lm")
        places.append((name, y))
    return Card(picture, tuple(places))


def _head(shown: Shown, word: str, size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, GROUND)
    side = 12 * _SCALE
    dot = Image.new("RGB", (side, side), GROUND)
    ring = (1, 1, side - 2, side - 2)
    ImageDraw.Draw(dot).ellipse(ring, RED if shown.capturing else GROUND, RED if shown.capturing else QUIET, 2 * _SCALE)
    picture.paste(dot.resize((12, 12), Image.Resampling.LANCZOS), (EDGE - 2, HEAD // 2 - 6))
    pen = ImageDraw.Draw(picture)
    pen.text((EDGE + 18, HEAD // 2), word, INK, _font(14), anchor="lm")
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=RED if shown.capturing else QUIET)
    return picture


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
