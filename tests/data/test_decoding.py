import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from tutelage.data.decoding import Unusable, decode, dhash, examine, is_turned, resize, thumbnail

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM")
EXIF_6 = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0, 0)  # one entry: orientation 6
DEEP = (np.arange(480).reshape(24, 20) * 130).astype(np.uint16)


def refusal(data, max_pixels=10**6):
    with pytest.raises(Unusable) as caught:
        examine(data, max_pixels=max_pixels)
    return caught.value.reason


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def text_chunk(key, text):
    told = PngInfo()
    (told.add_itxt if key.startswith("XML") else told.add_text)(key, text)
    return {"pnginfo": told}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"xmp": XMP.encode(), "quality": 95}),
        ("PNG", text_chunk("XML:com.adobe.xmp", XMP)),
        ("PNG", text_chunk("Raw profile type exif", "\nexif\n      32\n" + (b"Exif\0\0" + EXIF_6).hex())),
    ],
)
def test_an_orientation_that_is_not_in_exif_turns_the_image_for_all_who_read_it(kind, options):
    data = encoded(picture(), kind, **options)
    seen = examine(data, max_pixels=480)
    assert seen.shape == (20, 24, 3)
    np.testing.assert_array_equal(decode(data), seen)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "PPM"])
def test_lossless_formats_give_the_pixels_back(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(picture(), kind, **options)
    np.testing.assert_array_equal(examine(data, max_pixels=480), picture())  # 24 x 20 pixels are allowed
    np.testing.assert_array_equal(decode(data), picture())


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(picture()).quantize(16), {}),
        (Image.fromarray(picture()).quantize(16), {"transparency": b"\x00\x01\x02"}),
        (Image.fromarray(picture()).convert("1"), {}),
        (Image.fromarray(picture()).convert("L"), {}),
        (Image.fromarray(picture()).convert("LA"), {}),
        (Image.fromarray(np.dstack([picture(), picture(1)[:, :, :1]])), {}),
        (Image.fromarray(DEEP), {}),
    ],
    ids=["palette", "transparent palette", "bits", "grey", "grey and alpha", "alpha", "16-bit grey"],
)
def test_any_mode_becomes_rgb_and_the_fast_way_agrees(image, options):
    data = encoded(image, "PNG", **options)
    seen = examine(data, max_pixels=10**6)
    assert seen.shape == (24, 20, 3)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(decode(data), seen)


def test_alpha_is_dropped_not_blended():
    data = encoded(Image.fromarray(np.dstack([picture(), np.zeros((24, 20, 1), np.uint8)])))
    np.testing.assert_array_equal(examine(data, max_pixels=10**6), picture())


def test_deep_grey_keeps_its_upper_byte():
    for data in (encoded(Image.fromarray(DEEP)), b"P5 20 24 65535\n" + DEEP.astype(">u2").tobytes()):
        np.testing.assert_array_equal(examine(data, max_pixels=10**6)[:, :, 1], DEEP >> 8)


def test_deep_colour_keeps_its_upper_byte():
    data = cv2.imencode(".png", picture()[:, :, ::-1].astype(np.uint16) * 256 + 7)[1].tobytes()
    np.testing.assert_array_equal(examine(data, max_pixels=10**6), picture())
    np.testing.assert_array_equal(decode(data), picture())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_nearly_the_same_both_ways(mode):
    data = encoded(Image.fromarray(picture()).convert(mode), "JPEG", quality=95)
    assert np.abs(examine(data, max_pixels=10**6).astype(int) - decode(data)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    data = encoded(picture(), kind, exif=exif, quality=95)
    upright = np.rot90(picture(), -1)
    assert is_turned(data)
    for seen in (examine(data, max_pixels=10**6), decode(data)):
        assert seen.shape == (20, 24, 3)
        assert np.abs(seen.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 2, 6, 9])
@pytest.mark.parametrize("order", ["<2s", ">2s"])
@pytest.mark.parametrize(("code", "value"), [(1, "Bxxx"), (3, "Hxx"), (4, "I")])  # BYTE, SHORT, LONG
def test_an_orientation_is_one_whatever_its_type_and_the_order_of_its_bytes(kind, orientation, order, code, value):
    mark = {"<2s": b"II", ">2s": b"MM"}[order]
    exif = struct.pack(f"{order}HIHHHI{value}I", mark, 42, 8, 1, 0x112, code, 1, orientation, 0)
    data = encoded(picture(), kind, quality=95, exif=b"Exif\0\0" + exif)
    seen, fast = examine(data, max_pixels=480).astype(int), decode(data)
    assert seen.shape == fast.shape
    assert np.abs(seen - fast).max() <= (kind == "JPEG")


def test_of_an_animation_that_the_default_image_is_no_part_of_that_image_counts():
    def pixels(image):
        return zlib.compress(b"".join(b"\0" + row.tobytes() for row in image))

    still, frame = picture(), picture(1)
    size = struct.pack(">II", 20, 24)
    control = [chunk(b"fcTL", struct.pack(">I", n) + size + struct.pack(">IIHHBB", 0, 0, 1, 10, 0, 0)) for n in (0, 2)]
    frames = [chunk(b"fdAT", struct.pack(">I", n) + pixels(frame)) for n in (1, 3)]
    header = chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0])) + chunk(b"acTL", struct.pack(">II", 2, 0))
    body = chunk(b"IDAT", pixels(still)) + control[0] + frames[0] + control[1] + frames[1]
    data = b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")
    for seen in (examine(data, max_pixels=480), decode(data)):
        np.testing.assert_array_equal(seen, still)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_only_an_orientation_of_its_own_turns_an_image(kind):
    assert not is_turned(encoded(picture(), kind))
    if kind != "BMP":  # which has no EXIF
        for orientation in (1, 3):
            exif = Image.Exif()
            exif[0x0112] = orientation
            assert is_turned(encoded(picture(), kind, exif=exif)) == (orientation == 3)


def test_pixels_without_a_known_range_are_refused():
    data = encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF")
    assert refusal(data) == "unreadable"


def test_a_huge_image_is_refused_before_a_pixel_is_decoded(monkeypatch):
    def load(_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(PngImageFile, "load", load)
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    claim = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )
    assert refusal(claim, max_pixels=50_000_000) == "too_large"
    assert refusal(encoded(picture()), max_pixels=479) == "too_large"


def test_a_tiff_whose_tile_is_large_is_refused_whatever_its_image_measures():
    """The memory of a whole tile is asked for, even for 10 x 10 pixels."""
    packed = zlib.compress(bytes(8192 * 64))
    tags = {
        256: 10,
        257: 10,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: 8192,
        323: 64,
        324: 8 + 2 + 10 * 12 + 4,
        325: len(packed),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + packed
    assert examine(data, max_pixels=8192 * 64).shape == (10, 10, 3)
    assert refusal(data, max_pixels=10_000) == "too_large"


@pytest.mark.parametrize("kind", FORMATS)
def test_half_a_file_is_truncated(kind):
    data = encoded(picture(), kind)
    assert refusal(data[: len(data) // 2]) == "truncated"


def test_a_png_without_its_last_chunk_is_truncated():
    assert refusal(encoded(picture())[:-12]) == "truncated"


def test_a_damaged_png_is_unreadable():
    data = bytearray(encoded(picture()))
    data[60:70] = bytes(10)
    assert refusal(bytes(data)) == "unreadable"


def test_other_files_are_no_images():
    assert refusal(b"<!DOCTYPE html><title>404</title>") == "not_an_image"
    assert refusal(b"") == "truncated"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FORMATS), st.dictionaries(st.integers(0, 400), st.integers(0, 255), max_size=6), st.integers(0, 999)
)
def test_whatever_bytes_come_there_is_an_answer(kind, changes, cut):
    data = bytearray(encoded(picture(), kind))
    for place, value in changes.items():
        data[place % len(data)] = value
    with contextlib.suppress(Unusable):  # any other error is the end of an ingest
        assert examine(bytes(data[: cut if cut % 2 else None]), max_pixels=10**5).ndim == 3


def test_shrinking_averages_areas():
    image = np.zeros((6, 6, 3), np.uint8)
    image[0, :3] = [[9], [18], [27]]  # plain interpolation would look at the middle of each 3 x 3 alone
    assert resize(image, 2)[:, :, 0].tolist() == [[6, 0], [0, 0]]


def test_growing_interpolates_and_each_axis_is_treated_alone():
    image = np.zeros((1, 400, 3), np.uint8)
    image[:, ::2] = 200  # stripes that plain interpolation would miss or hit by chance
    assert np.unique(resize(image, 100)).tolist() == [100]
    assert resize(picture(), 40).shape == (40, 40, 3)
    np.testing.assert_array_equal(resize(picture(0, 20, 20), 20), picture(0, 20, 20))


def test_dhash_by_hand():
    ramp = np.repeat(np.arange(0, 90, 10, dtype=np.uint8)[None, :, None], 8, axis=0).repeat(3, axis=2)  # 8 x 9
    assert dhash(ramp) == 2**64 - 1  # every cell is darker than its right neighbour
    assert dhash(ramp[:, ::-1].copy()) == 0
    ramp[0] = 0  # the first row is flat: its eight bits, the highest, are 0
    assert dhash(ramp) == 2**56 - 1


def test_dhash_survives_jpeg_and_scaling():
    image = picture(3, 120, 100)
    for copy in (
        decode(encoded(image, "JPEG", quality=40)),
        cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    ):
        assert (dhash(copy) ^ dhash(image)).bit_count() <= 4
        gap = np.abs(np.frombuffer(thumbnail(copy), np.uint8).astype(int) - np.frombuffer(thumbnail(image), np.uint8))
        assert gap.mean() < 2
    assert (dhash(picture(4, 120, 100)) ^ dhash(image)).bit_count() > 10


def test_flat_images_share_a_dhash_but_no_thumbnail():
    grey, red = (np.full((30, 30, 3), colour, np.uint8) for colour in ((90, 90, 90), (200, 40, 40)))
    assert dhash(grey) == dhash(red)
    assert thumbnail(grey) != thumbnail(red)
