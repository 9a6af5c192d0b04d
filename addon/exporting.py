"""A head in other programs' files: .blend, FBX, GLB, OBJ, USD.

Files are written from a copy (export_copy.py): the neutral at the origin, no modifiers, no drivers, no action, no
cameras, so what is in the file never depends on how the head is posed. FBX, GLB and USD hold the free keys (ARKit's
52, all at 0). Driven correctives are left out, because those formats cannot drive a key. A JSON file beside each
export says what the format cannot: units, axes, keys, formulas, values of the photographs, face model and licence.

A file appears whole or not at all (export_target.py).
"""

from __future__ import annotations

import json
import struct
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import displacement
from .export_copy import ExportCopy, copied, has_displacement, shown, values_of_photographs
from .export_pictures import Pictures
from .export_presets import PRESETS, ExportOptions, Preset
from .export_target import ExportError, is_full, staged
from .head_record import HeadRecord, record_of

__all__ = ["CannotExport", "ExportError", "ExportReport", "cannot_write", "export_head", "has_displacement",
           "save_blend", "write_blend"]  # fmt: skip

MANIFEST = Path(__file__).resolve().parent.parent / "blender_manifest.toml"
PICTURES_BESIDE = ("obj", "usd")


class CannotExport(ExportError):
    """This Blender cannot write this format, or the head has nothing to write; another format may do."""


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        files: every file, the one that was asked for first.
        keys: the shape keys in it.
        warnings: sentences for the person.
    """

    files: tuple[Path, ...]
    keys: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def export_head(head: bpy.types.Object, path: Path, options: ExportOptions | None = None) -> ExportReport:
    """Write a head to `path`, with a JSON file beside it.

    Args:
        head: the mesh object. It and everything else in the file is as before afterwards.
        path: ends as the preset's files do. Without a preset in the options its suffix chooses the plain one.
        options: the defaults of the preset where not given.

    Raises:
        CannotExport: this Blender cannot write that format.
        ExportError: the place cannot be written to, or Blender failed. An older file is still there.
    """
    path = Path(path)
    options = options or ExportOptions()
    if not options.preset:
        options = options.for_format(_format_of(path))
    preset = PRESETS[options.preset]
    if path.suffix.lower() != preset.suffix:
        raise ExportError(f"{path.name} should end in {preset.suffix} for {preset.label}.")
    if head.type != "MESH" or not head.data.polygons:
        raise CannotExport(f"{head.name} has no faces to export. Choose a head.")
    reason = cannot_write(preset.format)
    if reason:
        raise CannotExport(reason)
    with staged(path) as folder, tempfile.TemporaryDirectory(prefix="lifemask-pictures-") as elsewhere:
        beside = preset.format in PICTURES_BESIDE
        pictures = Pictures(
            folder=folder if beside else Path(elsewhere),
            prefix=f"{path.stem}_" if beside else "",
            longest_side=options.texture_size,
            plain_cut_outs=preset.format in ("fbx", "obj"),
        )
        with copied(head, preset, options, pictures) as copy:
            _WRITERS[preset.format](copy, folder / path.name, preset)
            note = _note(head, copy.keys, copy.left_out, path.name, preset, options)
            note["skin_detail"] = copy.skin_detail
            warnings = [f"The picture {name} is gone and is not in the file." for name in pictures.missing]
            warnings += pictures.warnings
            if lacking := preset.lacks(copy.parts):
                warnings.append(f"This head has no {_listed(lacking)}. {preset.without_them}")
                note["lacks"] = lacking
        _write_note(folder, note)
        names = sorted((file.name for file in folder.iterdir()), key=lambda name: (name != path.name, name))
    if options.parts == "separate" and preset.as_it_stands:
        warnings.append("The cameras are bound to the first part.")
    return ExportReport(tuple(path.parent / name for name in names), tuple(note["keys"]), tuple(warnings))


def cannot_write(format_name: str) -> str:
    """Why this Blender cannot write a format, in a sentence; "" where it can."""
    if format_name == "usd" and not bpy.app.build_options.usd:
        return "This Blender was built without USD. Use a Blender from blender.org for it, or choose GLB."
    if format_name in ("fbx", "glb"):
        operator = "fbx" if format_name == "fbx" else "gltf"
        if not hasattr(bpy.types, f"EXPORT_SCENE_OT_{operator}"):
            name = "FBX format" if format_name == "fbx" else "glTF 2.0 format"
            return f"Blender's add-on “{name}” is switched off. Enable it under Edit > Preferences > Add-ons."
    return ""


def save_blend(path: Path, head: bpy.types.Object | None = None) -> None:
    """Save a copy of the whole file with every picture packed, so that it can be moved anywhere.

    Pictures keep a path relative to the file, from which Blender can unpack or reload them. With a head, its note is
    written beside the file.
    """
    for image in bpy.data.images:
        if image.source == "FILE" and image.filepath:
            if not image.packed_file:
                image.pack()
            image.filepath_raw = "//" + Path(bpy.path.basename(image.filepath)).name
    with staged(path) as folder:
        written = folder / path.name
        bpy.ops.wm.save_as_mainfile(filepath=str(written), copy=True, compress=True, relative_remap=False)
        _expect(written, lambda: True)
        if head is not None:
            keys = head.data.shape_keys.key_blocks.keys()[1:] if head.data.shape_keys else []
            preset = PRESETS["blend"]
            note = _note(head, {head.name: tuple(keys)}, {}, path.name, preset, ExportOptions("blend"))
            note["skin_detail"] = "material" if displacement.detail_of(head) else "none"
            _write_note(folder, note)


def _format_of(path: Path) -> str:
    for preset in PRESETS.values():
        if preset.suffix == path.suffix.lower():
            return preset.format
    endings = ", ".join(sorted({preset.suffix for preset in PRESETS.values()}))
    raise ExportError(f"{path.name} does not say what to write: it should end in one of {endings}.")


def _write_fbx(copy: ExportCopy, path: Path, preset: Preset) -> None:
    """Shape keys and pictures inside; no rotation or scale on the object: both are in the vertices."""
    in_metres = preset.units == "metres"
    with shown(copy.scene):
        bpy.ops.export_scene.fbx(
            filepath=str(path),
            use_selection=True,
            object_types={"MESH"},
            use_mesh_modifiers=False,
            mesh_smooth_type="FACE" if preset.smoothing_groups else "OFF",
            # In centimetres, FBX's own unit, the vertices are 100 times as large and the file's unit is 1.
            apply_scale_options="FBX_SCALE_ALL" if in_metres else "FBX_SCALE_NONE",
            axis_forward="-Z" if in_metres else "Y",
            axis_up="Y" if in_metres else "Z",
            bake_space_transform=True,
            bake_anim=False,
            add_leaf_bones=False,
            path_mode="COPY",
            embed_textures=True,
        )
    _expect(path, lambda: path.read_bytes()[:18] == b"Kaydara FBX Binary")


def _write_glb(copy: ExportCopy, path: Path, preset: Preset) -> None:
    """Morph targets named in `targetNames`, pictures inside."""
    with shown(copy.scene):
        bpy.ops.export_scene.gltf(
            filepath=str(path),
            export_format="GLB",
            use_selection=True,
            use_active_scene=True,  # otherwise what is selected in other scenes, the head itself, comes along
            export_yup=True,
            export_apply=False,
            export_animations=False,
            export_morph=True,
            export_morph_normal=True,
            export_skins=False,
            export_cameras=False,
            export_lights=False,
            export_extras=False,
        )
    _expect(path, lambda: struct.unpack("<4x4xI", path.read_bytes()[:12])[0] == path.stat().st_size)


def _write_obj(copy: ExportCopy, path: Path, preset: Preset) -> None:
    """OBJ and MTL of the neutral, pictures beside them; where asked for, one OBJ more a key, without materials."""
    vertices = sum(len(item.data.vertices) for item in copy.objects)
    with shown(copy.scene):
        _write_one_obj(path, vertices, with_materials=True)
        for name in _all_keys(copy.keys) if preset.file_for_each_key else ():
            blocks = [item.data.shape_keys.key_blocks[name] for item in copy.objects if name in copy.keys[item.name]]
            for block in blocks:
                block.slider_max = max(block.slider_max, 1.0)
                block.value = 1.0
            copy.scene.view_layers[0].update()
            _write_one_obj(path.with_name(f"{path.stem}_{_file_name(name)}.obj"), vertices, with_materials=False)
            for block in blocks:
                block.value = 0.0


def _write_one_obj(path: Path, vertices: int, *, with_materials: bool) -> None:
    bpy.ops.wm.obj_export(
        filepath=str(path),
        export_selected_objects=True,
        apply_modifiers=True,  # the copy has none; without this the exporter passes over the values of the keys
        forward_axis="NEGATIVE_Z",
        up_axis="Y",
        export_normals=True,
        export_uv=True,
        export_materials=with_materials,
        path_mode="STRIP",
    )

    def is_whole() -> bool:
        with path.open("rb") as lines:
            text = lines.read()
        return text.endswith(b"\n") and text.count(b"\nv ") == vertices and b"\nf " in text

    _expect(path, is_whole)


def _write_usd(copy: ExportCopy, path: Path, preset: Preset) -> None:
    """Blend shapes on a mesh, preview surfaces, pictures beside the file."""
    textures = {"export_textures_mode": "KEEP"} if bpy.app.version >= (4, 4, 0) else {"export_textures": False}
    with shown(copy.scene):
        bpy.ops.wm.usd_export(
            filepath=str(path),
            selected_objects_only=True,
            export_animation=False,
            export_hair=False,
            export_shapekeys=True,
            export_lights=False,
            export_cameras=False,
            export_custom_properties=False,
            author_blender_name=False,
            convert_world_material=False,
            relative_paths=True,
            evaluation_mode="VIEWPORT",
            root_prim_path="/" + _prim_name(copy.objects[0].name),
            **textures,
        )

    def is_whole() -> bool:
        content = path.read_bytes()
        return content[:8] == b"PXR-USDC" and struct.unpack("<q", content[16:24])[0] < len(content)

    _expect(path, is_whole)


def write_blend(copy: ExportCopy, path: Path) -> None:
    """A file with the copy's scene and nothing else; its pictures are packed. Raises RuntimeError when it failed."""
    copy.pictures.pack()
    bpy.data.libraries.write(str(path), {copy.scene}, path_remap="NONE", fake_user=False, compress=True)

    def is_whole() -> bool:
        with bpy.data.libraries.load(str(path)) as (there, _):
            return {item.name for item in copy.objects} <= set(there.objects)

    _expect(path, is_whole)


_WRITERS: dict[str, Callable[[ExportCopy, Path, Preset], None]] = {
    "fbx": _write_fbx,
    "glb": _write_glb,
    "obj": _write_obj,
    "usd": _write_usd,
    "blend": lambda copy, path, preset: write_blend(copy, path),
}


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _all_keys(keys: dict[str, tuple[str, ...]]) -> list[str]:
    """The keys of all objects in order, each once."""
    return list(dict.fromkeys(name for names in keys.values() for name in names))


def _write_note(folder: Path, note: dict) -> None:
    text = json.dumps(note, indent=2, ensure_ascii=False)
    (folder / f"{note['file']}.json").write_text(text + "\n", encoding="utf-8")


def _note(
    head: bpy.types.Object,
    objects: dict[str, tuple[str, ...]],
    left_out: dict[str, tuple[str, str]],
    file: str,
    preset: Preset,
    options: ExportOptions,
) -> dict:
    """What the JSON file beside the export says; `objects` has the names of the keys by that of the object."""
    keys = _all_keys(objects)
    about = record_of(head) or HeadRecord()
    note = {
        "file": file,
        "preset": preset.name,
        "written_by": {"lifemask": _version(), "blender": bpy.app.version_string},
        "units": preset.units,
        "axes": preset.axes,
        "shape": "as it stood in the scene" if preset.as_it_stands else "neutral, eyes open, mouth shut",
        "objects": {name: list(names) for name, names in objects.items()},
        "keys": keys,
        "photograph_values": values_of_photographs(head),
        "keys_left_out": {
            name: {"follows": followed, "formula": formula, "w": f"value of {followed}"}
            for name, (followed, formula) in left_out.items()
        },
        "displacement": "applied" if options.displacement == "applied" and has_displacement(head) else "off",
        "face_model": about.face_model or head.get("lifemask_face_model", ""),
        "face_model_label": about.face_model_label,
        "licence": about.licence or head.get("lifemask_licence", ""),
        "licence_in_words": about.licence_sentence,
        "may_be_used_commercially": about.may_be_sold,
        "licences": [dict(licence) for licence in about.licences],
    }
    if left_out:
        note["why_left_out"] = (
            "These keys follow another key by a formula, which this file does not hold. With them the lids stay on "
            "the eyeball half-way; open and shut lids do not need them."
        )
    if preset.file_for_each_key:
        stem = Path(file).stem
        note["key_files"] = {name: f"{stem}_{_file_name(name)}.obj" for name in keys}
    if preset.warning:
        note["not_tried"] = preset.warning
    return note


def _version() -> str:
    """The version of Lifemask, from the manifest that Blender reads too; "" where it cannot be read."""
    try:
        return str(tomllib.loads(MANIFEST.read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return ""


def _file_name(key: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in key)


def _prim_name(name: str) -> str:
    """A name that USD takes: letters, digits, underscores, no digit first."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    return plain if plain and not plain[0].isdigit() else "_" + plain


def _expect(path: Path, is_whole: Callable[[], bool]) -> None:
    """Blender's exporters report some failures and go on: trust the file, not the return value."""
    try:
        if path.stat().st_size and is_whole():
            return
    except (OSError, struct.error):
        pass
    full = "No space left: the disk is full." if is_full(path.parent) else ""
    raise RuntimeError(full or "the file is missing or not whole.")
