"""A head as an asset of Blender's Asset Browser: marked, described, with a preview, in this file or in a library."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from . import exporting, portrait
from .export_copy import copied
from .export_pictures import Pictures
from .export_presets import PRESETS, ExportOptions
from .export_target import ExportError, sentence, staged
from .head_record import HeadRecord, record_of

CATALOGUE_FILE = "blender_assets.cats.txt"
CATALOGUE_ID = "7c1f4f6e-2b0a-4d58-9f5e-0c6f5f1a3d42"
CATALOGUE = f"{CATALOGUE_ID}:Lifemask/Heads:Lifemask-Heads"
CATALOGUE_HEADER = """\
# This is an Asset Catalog Definition file for Blender.
#
# Empty lines and lines starting with `#` will be ignored.
# The first non-ignored line should be the version indicator.
# Other lines are of the format "UUID:catalog/path/for/assets:simple catalog name"

VERSION 1

"""
TAGS = ("head", "face", "ARKit", "Lifemask")
RENDER_RESULT = "Render Result"  # Blender's name for what was rendered last
PREVIEW_PIXELS, PREVIEW_SAMPLES = 128, 4


@dataclass(frozen=True)
class AssetDetails:
    """What the Asset Browser says about a head."""

    name: str
    description: str
    licence: str
    author: str = ""
    tags: tuple[str, ...] = TAGS


def details_of(head: bpy.types.Object) -> AssetDetails:
    """What there is to say about a head."""
    about = record_of(head) or HeadRecord()
    model = about.face_model_label or about.face_model or str(head.get("lifemask_face_model", ""))
    licence = about.licence or str(head.get("lifemask_licence", ""))
    keys = len(head.data.shape_keys.key_blocks) - 1 if head.data.shape_keys else 0
    made_of = f" Face model: {model}{f' ({licence})' if licence else ''}." if model else ""
    sentence_of_licence = f" {about.licence_sentence}" if about.licence_sentence else ""
    unsold = " It may not be sold." if about.may_be_sold is False else ""
    description = f"A head with {keys} shape keys, made with Lifemask.{made_of}{sentence_of_licence}{unsold}"
    return AssetDetails(head.name, description, licence)


def mark_in_file(head: bpy.types.Object, details: AssetDetails) -> bool:
    """Make the head itself an asset of this file. Returns whether a preview could be made.

    Raises ExportError for a head that is linked from another file.
    """
    if head.library is not None:
        raise ExportError(f"{head.name} is linked from another file. Save it to an asset library, or mark it there.")
    _describe(head, details)
    return _give_preview(head)


def save_to_library(head: bpy.types.Object, library: Path, details: AssetDetails) -> tuple[Path, bool]:
    """Write the head to a file of its own in an asset library, and its catalogue.

    The head in this file is left alone. Returns the file, which never takes another one's place, and whether a preview
    could be made. Raises ExportError with a sentence where the library cannot be written to.
    """
    library = Path(library)
    path = _free_path(library / "Lifemask", details.name)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise ExportError(sentence(error, path)) from error
    preset = PRESETS["blend"]
    with staged(path) as folder, tempfile.TemporaryDirectory(prefix="lifemask-pictures-") as elsewhere:
        with copied(head, preset, ExportOptions(preset.name), Pictures(Path(elsewhere))) as copy:
            (item,) = copy.objects
            item.matrix_basis.identity()
            _describe(item, details)
            has_preview = _give_preview(item)
            exporting.write_blend(copy, folder / path.name)
    _add_catalogue(library)
    return path, has_preview


def _describe(item: bpy.types.Object, details: AssetDetails) -> None:
    item.asset_mark()
    about = item.asset_data
    about.description, about.license, about.author = details.description, details.licence, details.author
    about.catalog_id = CATALOGUE_ID
    for tag in details.tags:
        about.tags.new(tag, skip_if_exists=True)


def _give_preview(item: bpy.types.Object) -> bool:
    """Render a small portrait as the item's preview. False where this Blender cannot render one."""
    rendered_before = RENDER_RESULT in bpy.data.images
    with tempfile.TemporaryDirectory(prefix="lifemask-preview-") as folder:
        path = Path(folder) / "preview.png"
        try:
            portrait.render_portrait(item, path, size=PREVIEW_PIXELS, samples=PREVIEW_SAMPLES)
            image = bpy.data.images.load(str(path))
        except (RuntimeError, TypeError):
            return False
        pixels = np.empty(PREVIEW_PIXELS * PREVIEW_PIXELS * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    if not rendered_before and RENDER_RESULT in bpy.data.images:
        bpy.data.images.remove(bpy.data.images[RENDER_RESULT])
    preview = item.preview_ensure()
    preview.image_size = PREVIEW_PIXELS, PREVIEW_PIXELS
    preview.image_pixels_float.foreach_set(pixels)
    return True


def _free_path(folder: Path, name: str) -> Path:
    """A path for a new .blend that no file has."""
    stem = bpy.path.clean_name(name) or "head"
    path, number = folder / f"{stem}.blend", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}.blend"
    return path


def _add_catalogue(library: Path) -> None:
    """Put the catalogue of heads into the library's list, which may hold others."""
    path = library / CATALOGUE_FILE
    try:
        text = path.read_text("utf-8") if path.exists() else CATALOGUE_HEADER
        if CATALOGUE_ID in text:
            return
        new = path.with_name(f".{path.name}.new")
        new.write_text(text.rstrip("\n") + "\n" + ("" if path.exists() else "\n") + CATALOGUE + "\n", encoding="utf-8")
        os.replace(new, path)
    except (OSError, ValueError) as error:
        raise ExportError(f"The head is in the library, but {path} could not be changed: {error}.") from error
