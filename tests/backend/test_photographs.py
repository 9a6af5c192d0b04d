"""Photographs of every kind are read, and what is no photograph is refused in a sentence."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from backend.errors import PhotoError, UsageError
from backend.photographs import BACKGROUND, WORKING_PIXELS, load_photograph

EXIF = ExifTags.Base


def colours(width: int = 48, height: int = 32) -> np.ndarray:
    """(H, W, 3) uint8: red to the right, green downwards, a blue corner at the top left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 230, width)
    picture[..., 1] = np.linspace(20, 230, height)[:, None]
    picture[: height // 4, : width // 4, 2] = 200
    return picture


def exif(**values) -> Image.Exif:
    tags = Image.Exif()
    inside = tags.get_ifd(ExifTags.IFD.Exif)
    for name, value in values.items():
        (tags if name == "Orientation" else inside)[EXIF[name]] = value
    return tags


def saved(folder: Path, name: str, picture: Image.Image, **options) -> Path:
    path = folder / name
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "bmp"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, f"photo.{suffix}", Image.fromarray(colours()), **options)
    photograph = load_photograph(path)
    assert photograph.image.dtype == np.uint8
    np.testing.assert_array_equal(photograph.image, colours())
    assert photograph.focal_35mm is None
    assert photograph.warnings == []


def test_jpegs_come_back_nearly(tmp_path):
    image = load_photograph(saved(tmp_path, "photo.jpg", Image.fromarray(colours()), quality=95)).image
    assert np.abs(image.astype(int) - colours())[10:, 14:].mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "CMYK"])
def test_every_orientation_is_turned_upright(tmp_path, orientation, kind):
    upright = Image.fromarray(colours())
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = (upright if undo is None else upright.transpose(undo)).convert(kind)
    path = saved(tmp_path, "photo.tiff", stored, exif=exif(Orientation=orientation))
    wanted = np.asarray(upright.convert(kind).convert("RGB"))
    np.testing.assert_array_equal(load_photograph(path).image, wanted)


def test_grey_palette_and_bilevel_pictures_become_colour(tmp_path):
    grey = Image.fromarray(colours()).convert("L")
    for name, picture in {"grey.png": grey, "palette.png": grey.convert("P"), "two.png": grey.convert("1")}.items():
        image = load_photograph(saved(tmp_path, name, picture)).image
        np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")), err_msg=name)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_keeps_its_brightness(tmp_path, suffix):
    values = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(4, axis=0)
    image = load_photograph(saved(tmp_path, f"deep.{suffix}", Image.fromarray(values))).image
    np.testing.assert_allclose(image[0, :, 1], values[0] / 257.0, atol=1)


def test_sixteen_bit_colour_keeps_its_brightness(tmp_path):
    import cv2

    deep = colours().astype(np.uint16) * 257
    for suffix in ("png", "tiff"):
        path = tmp_path / f"deep.{suffix}"
        assert cv2.imwrite(str(path), deep[..., ::-1])
        np.testing.assert_allclose(load_photograph(path).image.astype(int), colours(), atol=1)


def test_floating_point_grey_is_taken_for_zero_to_one(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, axis=0)
    image = load_photograph(saved(tmp_path, "float.tiff", Image.fromarray(values))).image
    np.testing.assert_allclose(image[0, :, 2], values[0] * 255, atol=1)


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_transparent_parts_become_neutral_grey(tmp_path, kind):
    picture = Image.fromarray(colours()).convert(kind)
    alpha = np.full(colours().shape[:2], 255, np.uint8)
    alpha[:, :10] = 0
    picture.putalpha(Image.fromarray(alpha))
    image = load_photograph(saved(tmp_path, "alpha.png", picture)).image
    assert (image[:, :10] == BACKGROUND).all()
    np.testing.assert_array_equal(
        image[:, 10:], np.asarray(Image.fromarray(colours()).convert(kind[:-1]).convert("RGB"))[:, 10:]
    )


def test_a_transparent_palette_entry_becomes_grey(tmp_path):
    picture = Image.fromarray(np.repeat([[0, 1]], 4, axis=0).astype(np.uint8), mode="P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    image = load_photograph(saved(tmp_path, "palette.png", picture, transparency=0)).image
    assert image[0].tolist() == [[BACKGROUND] * 3, [0, 0, 255]]


def test_cmyk_without_a_profile_is_converted(tmp_path):
    path = saved(tmp_path, "print.jpg", Image.new("CMYK", (32, 32), (0, 255, 255, 0)), quality=95)
    red, green, blue = load_photograph(path).image[16, 16]
    assert red > 240 and green < 15 and blue < 15


def test_an_embedded_profile_is_applied(tmp_path):
    # The project's own profile: sRGB's primaries with red and blue exchanged, written by swapping two tags.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.find(b"rXYZ"), profile.find(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    name = profile.find("sRGB".encode("utf-16-be"))
    if name < 0:
        name = profile.find(b"sRGB")
        profile[name : name + 4] = b"TEST"
    else:
        profile[name : name + 8] = "TEST".encode("utf-16-be")
    path = saved(tmp_path, "swapped.png", Image.new("RGB", (8, 8), (255, 0, 0)), icc_profile=bytes(profile))
    red, green, blue = load_photograph(path).image[4, 4]
    assert blue > 240 and red < 15 and green < 60


def test_a_broken_profile_is_ignored_with_a_warning(tmp_path):
    path = saved(tmp_path, "odd.png", Image.fromarray(colours()), icc_profile=b"this is no profile")
    photograph = load_photograph(path)
    np.testing.assert_array_equal(photograph.image, colours())
    assert len(photograph.warnings) == 1 and "odd.png" in photograph.warnings[0]


def test_the_stated_35_mm_focal_length_is_used(tmp_path):
    tags = exif(FocalLengthIn35mmFilm=85, FocalLength=50.0)
    path = saved(tmp_path, "photo.jpg", Image.new("RGB", (90, 60)), exif=tags)
    assert load_photograph(path).focal_35mm == 85


def test_the_focal_length_follows_from_the_pixel_pitch_of_a_known_sensor(tmp_path):
    # A four thirds sensor, 17.3 x 13 mm, 4000 x 3000 pixels; the file holds a reduced copy.
    tags = exif(FocalLength=45.0, FocalPlaneXResolution=4000 / 17.3, FocalPlaneResolutionUnit=4)
    inside = tags.get_ifd(ExifTags.IFD.Exif)
    inside[EXIF.ExifImageWidth], inside[EXIF.ExifImageHeight] = 4000, 3000
    path = saved(tmp_path, "photo.jpg", Image.new("RGB", (80, 60)), exif=tags)
    assert load_photograph(path).focal_35mm == pytest.approx(90.0, rel=0.01)


@pytest.mark.parametrize(
    ("size", "tags"),
    [
        ((90, 60), {}),
        ((90, 60), {"FocalLength": 50.0}),  # of an unknown sensor
        ((90, 60), {"FocalLengthIn35mmFilm": 0}),
        ((60, 60), {"FocalLengthIn35mmFilm": 50}),  # cropped: no sensor is square
        ((90, 60), {"FocalLengthIn35mmFilm": 50, "ExifImageWidth": 4000, "ExifImageHeight": 3000}),  # cropped to 3:2
    ],
)
def test_a_focal_length_that_means_nothing_is_not_used(tmp_path, size, tags):
    path = saved(tmp_path, "photo.jpg", Image.new("RGB", size), exif=exif(**tags))
    assert load_photograph(path).focal_35mm is None


def test_a_reduced_copy_in_portrait_format_keeps_its_focal_length(tmp_path):
    tags = exif(FocalLengthIn35mmFilm=50, ExifImageWidth=4000, ExifImageHeight=3000, Orientation=6)
    path = saved(tmp_path, "photo.jpg", Image.new("RGB", (80, 60)), exif=tags)
    photograph = load_photograph(path)
    assert photograph.image.shape == (80, 60, 3)
    assert photograph.focal_35mm == 50


@pytest.mark.slow
def test_a_huge_picture_is_reduced(tmp_path):
    path = saved(tmp_path, "huge.jpg", Image.new("RGB", (10000, 6000), (90, 120, 150)), quality=50)
    image = load_photograph(path).image
    assert image.shape[0] * image.shape[1] <= WORKING_PIXELS
    assert image.shape[1] / image.shape[0] == pytest.approx(10 / 6, rel=1e-3)
    assert np.abs(image[::500, ::500].astype(int) - (90, 120, 150)).max() <= 2


def refusal(kind: type, path: Path) -> str:
    with pytest.raises(kind) as caught:
        load_photograph(path)
    assert path.name in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    return caught.value.code


def test_a_missing_file_and_a_folder_are_wrong_files(tmp_path):
    assert refusal(UsageError, tmp_path / "nothing.jpg") == "no-such-file"
    assert refusal(UsageError, tmp_path) == "photograph-is-a-folder"


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may read everything")
def test_a_file_that_may_not_be_read_is_a_wrong_file(tmp_path):
    path = saved(tmp_path, "mine.png", Image.fromarray(colours()))
    path.chmod(0)
    assert refusal(UsageError, path) == "no-permission"


def test_an_unreadable_file_is_a_wrong_file(tmp_path, monkeypatch):
    path = saved(tmp_path, "mine.png", Image.fromarray(colours()))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert refusal(UsageError, path) == "no-permission"


def test_what_is_not_a_picture_is_refused(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("this is a letter, not a picture\n" * 20)
    (tmp_path / "page.ps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")
    assert refusal(PhotoError, tmp_path / "empty.jpg") == "empty-file"
    assert refusal(PhotoError, tmp_path / "text.jpg") == "not-a-picture"
    assert refusal(PhotoError, tmp_path / "page.ps") == "not-a-picture"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_picture_cut_short_is_refused(tmp_path, suffix, kept):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = saved(tmp_path, f"whole.{suffix}", Image.fromarray(noise))
    short = tmp_path / f"short.{suffix}"
    short.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert refusal(PhotoError, short) in ("truncated-picture", "not-a-picture")


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path, side):
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert refusal(PhotoError, path) == "picture-too-large"


def test_heic_is_read_or_refused_with_the_reason(tmp_path):
    try:
        import pillow_heif
    except ImportError:
        path = tmp_path / "photo.heic"
        path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100))
        assert refusal(PhotoError, path) == "heic-not-supported"
        return
    pillow_heif.register_heif_opener()
    path = saved(tmp_path, "photo.heic", Image.fromarray(colours()), quality=95)
    assert np.abs(load_photograph(path).image.astype(int) - colours()).mean() < 6


def test_real_portraits_are_read(data_folder):
    image = load_photograph(data_folder / "photos" / "public_domain" / "astronaut.png").image
    assert image.shape == (512, 512, 3)
    assert (
        load_photograph(data_folder / "photos" / "public_domain" / "obama.jpg").focal_35mm is None
    )  # reduced, cropped
