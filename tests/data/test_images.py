"""Encoded images of every kind, to the pixels they show."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.images import decode_image, kinds, stack_images

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)


def _bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_transparency_is_laid_on_white() -> None:
    """Every alpha gives the rounded mixture with 255; opaque pixels and grey are unchanged."""
    alpha = np.resize(np.array([0, 255, 128, 1, 254], np.uint8), (5, 7))
    pixels = np.dstack([COLOUR, alpha])
    mixed = np.rint((COLOUR * (alpha[..., None] / 255)) + 255 - alpha[..., None]).astype(int)
    found = decode_image(_bytes(Image.fromarray(pixels)), "x")
    assert np.abs(found.transpose(1, 2, 0).astype(int) - mixed).max() <= 0
    grey = decode_image(_bytes(Image.fromarray(np.dstack([GREY, alpha]))), "x")
    assert grey.shape == (1, 5, 7)
    assert np.array_equal(grey[0], np.rint(GREY * (alpha / 255) + 255 - alpha).astype(int))


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    """RGBA of alpha 255 gives the bytes of the RGB image."""
    pixels = np.dstack([COLOUR, np.full((5, 7), 255, np.uint8)])
    assert np.array_equal(
        decode_image(_bytes(Image.fromarray(pixels)), "x"), COLOUR.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_transparent_value(mode: str) -> None:
    """One value of a grey or palette image that means `transparent` is white."""
    pixels = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(pixels)
    colours = [(v, v, v) for v in range(4)]
    if mode == "P":
        colours = [(10, 20, 30), (40, 50, 60), (70, 80, 90), (100, 110, 120)]
        image = Image.fromarray(pixels, "L").convert("P")
        image.putdata(pixels.flatten().tolist())
        image.putpalette([part for colour in colours for part in colour])
    found = decode_image(_bytes(image, transparency=2), "x")
    shown = [found[:, i, j].tolist() for i in range(2) for j in range(2)]
    expected = [list(colours[v] if v != 2 else (255, 255, 255)) for v in range(4)]
    assert shown == (expected if mode == "P" else [colour[:1] for colour in expected])


def test_a_transparent_value_of_16_bits() -> None:
    """It is white, and no other value that comes to the same 8 bits is."""
    wide = Image.fromarray(np.array([[0, 257, 258]], np.uint16))
    assert decode_image(_bytes(wide, transparency=257), "x").tolist() == [[[0, 255, 1]]]


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [(1, 0, False), (3, 2, False), (6, 1, False), (8, 3, False), (2, 0, True)],
)
def test_the_exif_orientation_is_applied(orientation: int, turns: int, mirrored: bool) -> None:
    """A picture stored lying comes out upright; without a tag nothing moves."""
    stored = np.rot90(COLOUR, turns)
    stored = stored[:, ::-1] if mirrored else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode_image(_bytes(Image.fromarray(np.ascontiguousarray(stored)), exif=exif), "x")
    assert np.array_equal(found, COLOUR.transpose(2, 0, 1))


def test_sixteen_bits_are_scaled() -> None:
    """16-bit grey is divided by 257 and rounded, not clipped; white is 255."""
    wide = np.array([[0, 128, 129, 257], [300, 32768, 65406, 65535]], np.uint16)
    expected = [[0, 0, 1, 1], [1, 128, 254, 255]]
    for kind in ("PNG", "TIFF"):
        assert decode_image(_bytes(Image.fromarray(wide), kind), "x").tolist() == [expected]
    assert decode_image(b"P5 4 2 65535\n" + wide.astype(">u2").tobytes(), "x").tolist() == [
        expected
    ]


def _png16(pixels: np.ndarray, colour_type: int) -> bytes:
    """A PNG of [H,W,C] uint16 pixels, which Pillow cannot write; type 2 is RGB, 6 is RGBA."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0),
        b"IDAT" + zlib.compress(rows),
        b"IEND",
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


def test_sixteen_bits_of_colour() -> None:
    """RGB keeps its high bytes, as other readers do; with alpha it is laid on white, within 2."""
    wide = RANDOM.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
    found = decode_image(_png16(wide[..., :3], 2), "x")
    assert np.array_equal(found, (wide[..., :3] >> 8).astype(np.uint8).transpose(2, 0, 1))
    alpha = wide[..., 3:] / 65535
    shown = (wide[..., :3] * alpha + 65535 * (1 - alpha)) / 257
    assert np.abs(decode_image(_png16(wide, 6), "x").transpose(1, 2, 0) - shown).max() <= 2


def test_inks_of_a_photograph() -> None:
    """A CMYK JPEG with Adobe's marker holds inverted inks: (1 - ink)(1 - black) is shown."""
    inks = np.broadcast_to(np.array([200, 90, 0, 30], np.uint8), (16, 16, 4)).copy()
    data = _bytes(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    expected = (255 - inks[..., :3].astype(float)) * (255 - 30) / 255
    found = decode_image(data, "x").transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1.5


def test_a_palette_with_degrees_of_transparency() -> None:
    """Each colour of the palette has its own alpha."""
    colours, alpha = COLOUR[:2, :2].reshape(4, 3), np.array([0, 128, 255, 64], np.uint8)
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    image.putpalette(colours.flatten().tolist())
    shown = np.rint(colours * (alpha[:, None] / 255) + 255 - alpha[:, None])
    found = decode_image(_bytes(image, transparency=alpha.tobytes()), "x")
    assert np.array_equal(found.transpose(1, 2, 0).reshape(4, 3), shown)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_the_first_of_several_frames_counts(kind: str) -> None:
    """Of pages and of animations."""
    first, second = (Image.fromarray(np.full((5, 7, 3), v, np.uint8)) for v in (40, 200))
    more = {"lossless": True} if kind == "WEBP" else {}
    data = _bytes(first, kind, save_all=True, append_images=[second], **more)
    found = decode_image(data, "x")
    assert bool((found == 40).all())
    assert found.shape[1:] == (5, 7)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_what_is_cut_off_is_refused(kind: str, tmp_path: Path) -> None:
    """By name, in a file and in a table."""
    noise = RANDOM.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = _bytes(Image.fromarray(noise), kind)[:-700]
    (tmp_path / "cut").write_bytes(data)
    for source in (data, tmp_path / "cut"):
        with pytest.raises(UserError, match=r"^row 3: not a readable image .*; replace or remove"):
            decode_image(source, "row 3")


def test_32_bit_numbers_are_refused() -> None:
    """A float image has no white that is known."""
    for pixels in (np.ones((3, 3), np.float32), np.ones((3, 3), np.int32)):
        with pytest.raises(UserError, match="32 bits per channel"):
            decode_image(_bytes(Image.fromarray(pixels), "TIFF"), "x")


def test_palettes_and_cmyk() -> None:
    """A palette gives its colours, greys one channel; CMYK becomes RGB, one bit black, white."""
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    assert decode_image(_bytes(palette), "x")[:, 0].T.tolist() == [[9, 8, 7], [200, 100, 50]]
    palette.putpalette([9, 9, 9, 200, 200, 200])
    assert decode_image(_bytes(palette), "x").tolist() == [[[9, 200]]]
    cmyk = Image.fromarray(
        np.array([[[0, 0, 0, 0], [255, 255, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK"
    )
    assert decode_image(_bytes(cmyk, "TIFF"), "x")[:, 0].T.tolist() == [
        [255, 255, 255],
        [0, 0, 255],
        [0, 0, 0],
    ]
    assert decode_image(
        _bytes(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")), "x"
    ).tolist() == [[[0, 255]]]


def test_a_huge_declared_size_is_refused(tmp_path: Path) -> None:
    """A header of 60,000 x 60,000 pixels is one clear error, before anything is decoded."""
    for side in (10_000, 60_000):
        chunks = (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT")
        bomb = b"\x89PNG\r\n\x1a\n"
        bomb += b"".join(
            struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
        )
        (tmp_path / "bomb.png").write_bytes(bomb)
        for source in (bomb, tmp_path / "bomb.png"):
            with pytest.raises(UserError, match="row 7: the image declares more than"):
                decode_image(source, "row 7")


def test_only_image_formats_are_opened() -> None:
    """EPS, which Pillow gives to Ghostscript, is refused, as are vector and scientific formats."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    for data in (eps, b"SIMPLE  =                    T" + b" " * 2850, b"not an image"):
        with pytest.raises(UserError, match="not a readable image"):
            decode_image(data, "x")


def test_kinds_are_told_from_headers() -> None:
    """Grey and colour are found without decoding; what is no image does not count."""
    grey, colour = _bytes(Image.fromarray(GREY)), _bytes(Image.fromarray(COLOUR))
    assert kinds([grey, b"broken", grey[:60]]) == {"grey"}
    assert kinds([colour]) == {"colour"}
    assert kinds([grey, colour]) == {"grey", "colour"}


def test_a_stack_of_grey_and_colour() -> None:
    """Grey images around a coloured one are repeated; where all are grey, one channel."""
    grey, colour = GREY[None], COLOUR.transpose(2, 0, 1)
    mixed = stack_images(
        [(2, grey, "a"), (0, colour, "b"), (1, grey, "c")], 3, channels=None, hint=""
    )
    assert np.array_equal(mixed, np.stack([colour, np.repeat(grey, 3, 0), np.repeat(grey, 3, 0)]))
    assert stack_images([(0, grey, "a")], 1, channels=None, hint="").shape == (1, 1, 5, 7)
    assert np.array_equal(
        stack_images([(0, grey, "a")], 1, channels=3, hint="")[0], np.repeat(grey, 3, 0)
    )
