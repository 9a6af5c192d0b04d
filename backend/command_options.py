"""The options that `reconstruct` and `batch` share on the command line, and their checks. Standard library only."""

import argparse
import json
import os
from pathlib import Path

from . import licences
from .errors import UsageError
from .options import (
    BLENDER_FORMATS,
    DEFAULT_DETAIL_SIZE,
    DEFAULT_FACE_MODEL,
    DEFAULT_METHOD,
    DEFAULT_TEXTURE_SIZE,
    DEVICES,
    EXPORT_DISPLACEMENT,
    EXPORT_KEYS,
    EXPORT_PARTS,
    LARGEST_DETAIL_SIZE,
    LARGEST_TEXTURE_SIZE,
    METHODS,
    PRESET_FORMATS,
    SMALLEST_DETAIL_SIZE,
    SMALLEST_TEXTURE_SIZE,
    ReconstructOptions,
    check_face_model,
)

SMALLEST_EXPORTED_TEXTURE, LARGEST_EXPORTED_TEXTURE = 16, 16384


def add_head_options(parser: argparse.ArgumentParser) -> None:
    """Everything that is said about one head, whichever command makes it."""
    parser.add_argument("--focal-length", type=float, metavar="MM", help="35 mm equivalent, instead of what EXIF says")
    parser.add_argument(
        "--format", action="append", default=[], metavar="LIST", help=f"files besides: {','.join(BLENDER_FORMATS)}"
    )
    size = "width and height of the texture in pixels, default: %(default)s"
    parser.add_argument("--texture-size", type=int, default=DEFAULT_TEXTURE_SIZE, metavar="N", help=size)
    parser.add_argument("--no-texture", action="store_true", help="plain skin instead of the photographs' texture")
    parser.add_argument("--no-detail", action="store_true", help="no displacement maps of the skin: quicker")
    detail = "width and height of the displacement maps, default: %(default)s"
    parser.add_argument("--detail-size", type=int, default=DEFAULT_DETAIL_SIZE, metavar="N", help=detail)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    model = "what the head is made from, see `assets list`; default: %(default)s"
    parser.add_argument("--face-model", default=DEFAULT_FACE_MODEL, metavar="NAME", help=model)
    parser.add_argument("--for-sale", action="store_true", help="refuse whatever a licence forbids to sell")
    how = "a paper's network and then the fit, or the fit to the landmarks alone; default: %(default)s"
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help=how)

    files = parser.add_argument_group("the files of --format")
    files.add_argument(
        "--preset", choices=tuple(PRESET_FORMATS), metavar="NAME", help=f"for a program: {', '.join(PRESET_FORMATS)}"
    )
    files.add_argument("--keys", choices=EXPORT_KEYS, help="which shape keys; default: as the preset has them")
    files.add_argument("--parts", choices=EXPORT_PARTS, help="one object, or one a part; default: joined")
    files.add_argument("--export-texture-size", type=int, metavar="N", help="longest side of the files' pictures")
    files.add_argument("--displacement", choices=EXPORT_DISPLACEMENT, help="move the vertices by it; default: off")
    files.add_argument("--blender", type=Path, metavar="PROGRAM", help="the Blender, or Python with bpy, to write them")


def head_options(chosen: argparse.Namespace) -> ReconstructOptions:
    """The options as given, checked as far as that needs no packages. Raises UsageError."""
    formats = [part.strip().lower() for value in chosen.format for part in value.split(",") if part.strip()]
    if unknown := [name for name in formats if name not in BLENDER_FORMATS]:
        raise UsageError("unknown-format", f"There is no format {unknown[0]}. There are: {', '.join(BLENDER_FORMATS)}.")
    if chosen.preset:
        formats.append(PRESET_FORMATS[chosen.preset])
    if chosen.focal_length is not None and not 5.0 <= chosen.focal_length <= 2000.0:
        raise UsageError("bad-focal-length", "--focal-length is in mm as for 35 mm film, from 5 to 2000.")
    _check_side(
        "texture", chosen.texture_size, SMALLEST_TEXTURE_SIZE, LARGEST_TEXTURE_SIZE, "pixels: 1024, 2048 or 4096, say."
    )
    _check_side(
        "detail", chosen.detail_size, SMALLEST_DETAIL_SIZE, LARGEST_DETAIL_SIZE, "texels: 512, 1024 or 2048, say."
    )
    if chosen.blender is not None and not os.path.isfile(chosen.blender):
        raise UsageError("no-blender-there", f"There is no program {chosen.blender} for --blender.")
    check_face_model(chosen.face_model)
    options = ReconstructOptions(
        focal_length_mm=chosen.focal_length,
        formats=tuple(dict.fromkeys(formats)),
        texture_size=chosen.texture_size,
        texture=not chosen.no_texture,
        detail=not chosen.no_detail,
        detail_size=chosen.detail_size,
        device=chosen.device,
        method=chosen.method,
        export_options=_export_options(chosen, formats),
        blender=chosen.blender.absolute() if chosen.blender else None,
        face_model=chosen.face_model,
        for_sale=chosen.for_sale,
    )
    licences.check_sale(licences.of_options(options), options.for_sale)
    return options


def _check_side(what: str, size: int, smallest: int, largest: int, words: str) -> None:
    """Raises UsageError where no picture can have sides of this size; `words` are the unit and examples."""
    if not smallest <= size <= largest or size % smallest:
        raise UsageError(
            f"bad-{what}-size", f"--{what}-size is a multiple of {smallest} from {smallest} to {largest} {words}"
        )


def check_photograph_file(path: Path) -> None:
    """Raises UsageError where there is no readable file."""
    if os.path.isdir(path):
        raise UsageError("photograph-is-a-folder", f"{path} is a folder. Name the photographs in it.")
    if not os.path.exists(path):
        raise UsageError("no-such-file", f"There is no file {path}.")
    if not os.path.isfile(path):
        raise UsageError("not-a-file", f"{path} is not a file that could hold a photograph.")
    if not os.access(path, os.R_OK):
        raise UsageError("no-permission", f"{path} may not be read. Change its permissions.")


def _export_options(chosen: argparse.Namespace, formats: list[str]) -> str:
    """JSON as the add-on's export options have it; "" where nothing was asked for."""
    asked = {
        "preset": chosen.preset,
        "keys": chosen.keys,
        "parts": chosen.parts,
        "texture_size": chosen.export_texture_size,
        "displacement": chosen.displacement,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and not formats:
        raise UsageError("options-without-format", "The options of the files need files: add --format fbx, say.")
    size = chosen.export_texture_size or SMALLEST_EXPORTED_TEXTURE
    if not SMALLEST_EXPORTED_TEXTURE <= size <= LARGEST_EXPORTED_TEXTURE:
        raise UsageError(
            "bad-export-texture-size",
            f"--export-texture-size is from {SMALLEST_EXPORTED_TEXTURE} to {LARGEST_EXPORTED_TEXTURE} pixels.",
        )
    return json.dumps(asked) if asked else ""
