"""Reads photographs as people have them: any common format, turned upright, in sRGB, with the lens's focal length."""

import logging
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from backend.errors import Fix, PhotoError, UsageError

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
LARGEST_PIXELS = 178_000_000
"""Larger pictures are refused: unpacked they would take gigabytes."""

WORKING_PIXELS = 50_000_000
"""Larger pictures are reduced to this."""

BACKGROUND = 128
"""sRGB grey behind transparent pixels."""

DIAGONAL_35MM = float(np.hypot(36.0, 24.0))
MILLIMETRES_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF FocalPlaneResolutionUnit
SENSOR_DIAGONALS_MM = (54.8, 43.27, 33.6, 28.3, 26.8, 21.6, 15.9)
"""Medium format, full frame, APS-H, APS-C, Canon's APS-C, four thirds, one inch. Smaller ones state it."""

SENSOR_SHAPES = (4 / 3, 3 / 2, 16 / 9)
"""A picture of another shape was cropped, and what its EXIF says of the field of view no longer holds."""

SHAPE_TOLERANCE = 0.02
FOCAL_RANGE_MM = (5.0, 2000.0)
CHOOSE_ANOTHER = Fix("choose-another-photo", "Choose another photograph")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass
class Photograph:
    """One photograph, ready for use.

    Attributes:
        path: where it came from.
        image: (H, W, 3) uint8 sRGB, upright.
        focal_35mm: focal length for 35 mm film that gives the same field of view along the diagonal, millimetres; None
            where the file does not say.
        warnings: sentences for a person.
    """

    path: Path
    image: np.ndarray
    focal_35mm: float | None = None
    warnings: list[str] = field(default_factory=list)


def load_photograph(path: Path) -> Photograph:
    """Reads a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file, and HEIC where pillow-heif is installed.

    Raises:
        UsageError: "no-such-file", "photograph-is-a-folder", "no-permission" or "file-not-readable".
        PhotoError: "empty-file", "not-a-picture", "truncated-picture", "picture-too-large" or "heic-not-supported".
    """
    path = Path(path)
    data = _read_bytes(path)
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow's remarks on odd metadata and large pictures; large ones are measured here
        picture = _open(data, path)
        width, height = picture.size
        if width * height > LARGEST_PIXELS:
            raise _too_large(path)
        try:
            if width * height > WORKING_PIXELS:
                picture.draft(None, _working_size(width, height))  # JPEGs are reduced while they are read
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            logger.info("%s: %s", path, error)
            raise PhotoError(
                "truncated-picture",
                f"{path.name} is damaged or was cut short. Copy it again from the camera, or open it in a picture "
                "editor and save it anew.",
                CHOOSE_ANOTHER,
            ) from error
        focal = _focal_35mm(picture, (width, height), path, notes)
        upright = ImageOps.exif_transpose(_to_srgb(picture, path, notes))
    if upright.width * upright.height > WORKING_PIXELS:
        upright = upright.resize(_working_size(*upright.size), Image.Resampling.BOX)
    return Photograph(path, np.array(upright, np.uint8), focal, notes)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UsageError("photograph-is-a-folder", f"{path} is a folder. Name the photographs in it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError("no-such-file", f"There is no file {path}.") from error
    except PermissionError as error:
        raise UsageError("no-permission", f"{path} may not be read. Change its permissions.") from error
    except OSError as error:
        raise UsageError("file-not-readable", f"{path} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise PhotoError(
            "empty-file", f"{path.name} is empty (0 bytes). Copy it again from the camera.", CHOOSE_ANOTHER
        )
    return data


def _open(data: bytes, path: Path) -> Image.Image:
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    try:
        return Image.open(BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and "HEIF" not in Image.OPEN:
            raise PhotoError(
                "heic-not-supported",
                f"{path.name} is a HEIC picture, which needs the package pillow-heif. Save it as JPEG instead.",
                CHOOSE_ANOTHER,
            ) from error
        raise PhotoError(
            "not-a-picture",
            f"{path.name} is not a picture that can be read. JPEG, PNG, WebP and TIFF can.",
            CHOOSE_ANOTHER,
        ) from error


def _too_large(path: Path) -> PhotoError:
    return PhotoError(
        "picture-too-large",
        f"{path.name} has more than {LARGEST_PIXELS // 1_000_000} million pixels. Save a smaller copy.",
        CHOOSE_ANOTHER,
    )


def _working_size(width: int, height: int) -> tuple[int, int]:
    factor = (WORKING_PIXELS / (width * height)) ** 0.5
    return max(int(width * factor), 1), max(int(height * factor), 1)


def _to_srgb(picture: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """An RGB picture with the same orientation tag: 8 bit, profile applied, transparency over grey."""
    exif = picture.getexif()
    profile = picture.info.get("icc_profile")
    alpha = None
    if picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if picture.mode in ("RGBA", "LA", "La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode))
        alpha = picture.getchannel("A")
        picture = picture.convert("RGB" if picture.mode == "RGBA" else "L")
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_eight_bit(np.asarray(picture)))
    if picture.mode == "1":
        picture = picture.convert("L")
    converted = _apply_profile(picture, profile, path, notes) if profile else picture.convert("RGB")
    if alpha is not None:
        background = Image.new("RGB", converted.size, (BACKGROUND,) * 3)
        background.paste(converted, mask=alpha)
        converted = background
    orientation = exif.get(ExifTags.Base.Orientation)
    if orientation:
        converted.getexif()[ExifTags.Base.Orientation] = orientation
    return converted


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """Grey values of any range as uint8: integers beyond 8 bit are taken for 16 bit, floats for 0 to 1."""
    values = np.nan_to_num(values.astype(np.float64))
    if values.max(initial=0) <= 1.0:
        scale = 255.0
    elif values.max(initial=0) > 255:
        scale = 255.0 / 65535.0
    else:
        scale = 1.0
    return np.clip(values * scale + 0.5, 0, 255).astype(np.uint8)


def _apply_profile(picture: Image.Image, profile: bytes, path: Path, notes: list[str]) -> Image.Image:
    """The picture's colours in sRGB, from the profile that it carries."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.info("%s: colour profile: %s", path, error)
        notes.append(f"The colour profile in {path.name} cannot be used; its colours may be a little off.")
        return picture.convert("RGB")


def _focal_35mm(picture: Image.Image, stored_size: tuple[int, int], path: Path, notes: list[str]) -> float | None:
    """The 35 mm equivalent from EXIF, or None; a picture cropped after it was taken says nothing usable."""
    try:
        tags = picture.getexif().get_ifd(ExifTags.IFD.Exif)
        focal = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
        if not focal:
            focal = _focal_from_sensor(tags, stored_size)
        if not focal or not FOCAL_RANGE_MM[0] <= focal <= FOCAL_RANGE_MM[1]:
            return None
        taken = _number(tags, ExifTags.Base.ExifImageWidth), _number(tags, ExifTags.Base.ExifImageHeight)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        logger.info("%s: EXIF: %s", path, error)
        return None
    if not _is_whole(stored_size, taken):
        notes.append(f"{path.name} was cropped after it was taken, so the focal length it states is not used.")
        return None
    return focal


def _focal_from_sensor(tags: dict, stored_size: tuple[int, int]) -> float | None:
    """The 35 mm equivalent from the lens's own focal length and the pixel pitch of the sensor."""
    focal = _number(tags, ExifTags.Base.FocalLength)
    per_unit = _number(tags, ExifTags.Base.FocalPlaneXResolution)
    unit = MILLIMETRES_PER_UNIT.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if not focal or not per_unit or unit is None:
        return None
    width = _number(tags, ExifTags.Base.ExifImageWidth) or stored_size[0]
    height = _number(tags, ExifTags.Base.ExifImageHeight) or stored_size[1]
    diagonal_mm = float(np.hypot(width, height)) / per_unit * unit
    if not any(abs(diagonal_mm / known - 1) < 0.04 for known in SENSOR_DIAGONALS_MM):  # reduced after it was taken
        return None
    return focal * DIAGONAL_35MM / diagonal_mm


def _number(tags: dict, tag: int) -> float | None:
    """A tag's value as a number; None where it is absent, zero, or not a finite number."""
    value = tags.get(tag)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _is_whole(stored: tuple[int, int], taken: tuple[float | None, float | None]) -> bool:
    """Whether a picture shows all that the camera saw: it has a sensor's shape and the one that it was taken in."""
    ratio = max(stored) / min(stored)
    shapes = list(SENSOR_SHAPES)
    if all(taken):
        shapes = [shape for shape in shapes if abs(max(taken) / min(taken) / shape - 1) < SHAPE_TOLERANCE]
    return any(abs(ratio / shape - 1) < SHAPE_TOLERANCE for shape in shapes)
