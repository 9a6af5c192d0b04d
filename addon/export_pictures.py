"""The pictures of what is exported: copies in a folder of their own, at the size that was asked for.

The head's own materials and pictures are never changed: the copy that is written gets copies of both. Copies are taken
from the packed picture, the file, or, where someone has painted on it, from what is on the screen, so an export never
depends on files that are long gone.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from . import detail_baking, displacement, materials

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "OPEN_EXR": ".exr", "TARGA": ".tga", "BMP": ".bmp",
            "WEBP": ".webp", "HDR": ".hdr"}  # fmt: skip
NORMAL_MAP = "normal map"
"""Stands for the picture that a normal map is a copy of: there is none."""

BEFORE_THE_SUFFIX = re.compile(r"(\.[0-9]{3})?(\.[A-Za-z]{3,4})?$")


@dataclass
class Pictures:
    """Copies of materials and pictures for one export.

    Attributes:
        folder: where the copies of the pictures are written.
        prefix: what their names start with, so that several heads may share a folder.
        longest_side: pixels; 0 keeps them.
        plain_cut_outs: cut-out lashes become plain dark ones, for formats that put every picture on one UV map.
        keeps_displacement: whether skins keep the displacement that follows the shape keys.
        detail: of the head whose skin gets a normal map of its neutral instead; None for no normal map.
        made: every datablock that has been made; the caller removes them.
        names: (original, copy) pairs, whose names the caller may exchange for the while.
        missing: names of pictures that are gone: their file is not there and they are not packed.
        warnings: sentences on what else is not in the file.
    """

    folder: Path
    prefix: str = ""
    longest_side: int = 0
    plain_cut_outs: bool = False
    keeps_displacement: bool = True
    detail: displacement.Detail | None = None
    made: list[bpy.types.ID] = field(default_factory=list)
    names: list[tuple[bpy.types.ID, bpy.types.ID]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _copies: dict[bpy.types.ID | str, bpy.types.ID | None] = field(default_factory=dict)

    def give_to(self, item: bpy.types.Object) -> None:
        """Put copies in the place of all materials of an object."""
        for slot in item.material_slots:
            if slot.material is not None:
                slot.material = self.material(slot.material)

    def material(self, original: bpy.types.Material) -> bpy.types.Material:
        """The copy of a material; the same one for the same material."""
        if original in self._copies:
            return self._copies[original]
        if self.plain_cut_outs and materials.is_cut_out(original):
            copy = materials.add_material("lashes", None)
            self._keep(original, copy)
        else:
            copy = original.copy()
            self._keep(original, copy)
            if not self.keeps_displacement:
                displacement.remove(copy)
            self._copy_pictures_in(copy.node_tree)
            if self.detail is not None and original == self.detail.material:
                self._add_normal_map(copy)
        return copy

    @property
    def has_normal_map(self) -> bool:
        """Whether a skin has got one."""
        return NORMAL_MAP in self._copies

    def picture(self, original: bpy.types.Image) -> bpy.types.Image | None:
        """The copy of a picture, loaded from its file in `folder`; None where the picture is gone."""
        if original in self._copies:
            return self._copies[original]
        if original.source not in ("FILE", "GENERATED"):
            return original
        path = self._write(original)
        if path is None:
            self._copies[original] = None
            self.missing.append(original.name)
            return None
        copy = bpy.data.images.load(str(path))
        self._keep(original, copy)
        copy.colorspace_settings.name = original.colorspace_settings.name
        copy.alpha_mode = original.alpha_mode
        self._make_smaller(copy)
        return copy

    def pack(self) -> None:
        """Put the pictures into the file that is about to be written."""
        for copy in self._copies.values():
            if isinstance(copy, bpy.types.Image):
                copy.pack()
                copy.filepath_raw = "//" + Path(copy.filepath).name

    def _copy_pictures_in(self, tree: bpy.types.NodeTree | None) -> None:
        """Put copies in the place of the pictures in a tree, and of the groups in it that hold pictures."""
        for node in tree.nodes if tree else ():
            if node.type == "TEX_IMAGE" and node.image is not None:
                node.image = self.picture(node.image)
            elif node.type == "GROUP" and _holds_pictures(node.node_tree):
                if node.node_tree not in self._copies:
                    copy = node.node_tree.copy()
                    self._keep(node.node_tree, copy)
                    self._copy_pictures_in(copy)
                node.node_tree = self._copies[node.node_tree]

    def _add_normal_map(self, skin: bpy.types.Material) -> None:
        stem = self.prefix or bpy.path.clean_name(self.detail.head.name) + "_"
        path = self.folder / f"{stem}normal.png"
        try:
            detail_baking.save_normal_map(self.detail, {}, path)
        except displacement.DetailError as error:
            self.warnings.append(f"There is no normal map in the file: {error}")
            return
        picture = bpy.data.images.load(str(path))
        self.made.append(picture)
        self._copies[NORMAL_MAP] = picture
        picture.colorspace_settings.name = "Non-Color"
        self._make_smaller(picture)
        materials.add_normal_map(skin, picture)

    def _make_smaller(self, picture: bpy.types.Image) -> None:
        longest = max(picture.size)
        if self.longest_side and longest > self.longest_side:
            width, height = (max(1, round(side * self.longest_side / longest)) for side in picture.size)
            picture.scale(width, height)
            picture.save()

    def _keep(self, original: bpy.types.ID, copy: bpy.types.ID) -> None:
        """Know of a copy from its first moment, so that it is removed whatever happens next."""
        self._copies[original] = copy
        self.made.append(copy)
        self.names.append((original, copy))

    def _write(self, image: bpy.types.Image) -> Path | None:
        """The picture as a file in the folder, or None where there is nothing to write."""
        source = Path(bpy.path.abspath(image.filepath, library=image.library)) if image.filepath else None
        packed = image.packed_file
        stem = BEFORE_THE_SUFFIX.sub("", bpy.path.clean_name(image.name)) or "picture"
        stem = re.sub(r"_(png|jpe?g|tiff?|exr|tga|bmp|webp)$", "", stem)
        is_painted = image.is_dirty or (image.source == "GENERATED" and packed is None)
        suffix = source.suffix if source and source.suffix else SUFFIXES.get(image.file_format, ".png")
        if is_painted:
            suffix = ".exr" if image.is_float else ".png"
        path = self.folder / f"{self.prefix}{stem}{suffix}"
        number = 1
        while path.exists():
            number += 1
            path = self.folder / f"{self.prefix}{stem}_{number}{suffix}"
        if is_painted:
            _save_pixels(image, path)
        elif packed is not None:
            path.write_bytes(packed.data)
        elif source is not None and source.is_file():
            shutil.copyfile(source, path)
        return path if path.is_file() else None


def _holds_pictures(tree: bpy.types.NodeTree | None) -> bool:
    nodes = tree.nodes if tree else ()
    return any(
        node.type == "TEX_IMAGE" and node.image or node.type == "GROUP" and _holds_pictures(node.node_tree)
        for node in nodes
    )


def _save_pixels(image: bpy.types.Image, path: Path) -> None:
    """Write what is on the screen, and leave the picture unsaved as it is."""
    width, height = image.size
    pixels = np.empty(width * height * 4, dtype=np.float32)
    image.pixels.foreach_get(pixels)
    copy = bpy.data.images.new(image.name, width, height, alpha=True, float_buffer=image.is_float)
    try:
        copy.colorspace_settings.name = image.colorspace_settings.name
        copy.pixels.foreach_set(pixels)
        copy.filepath_raw = str(path)
        copy.file_format = "OPEN_EXR" if image.is_float else "PNG"
        copy.save()
    finally:
        bpy.data.images.remove(copy)
