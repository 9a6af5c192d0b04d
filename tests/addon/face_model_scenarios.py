"""Heads of other face models in a Blender interpreter: built, and out into files and in again. Judges nothing.

Runs as blender_scenarios.py does. The arguments name a result folder (`result`) and a folder to write to (`folder`).
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402
from export_scenarios import imported  # noqa: E402

PRESETS = ("fbx", "glb", "obj", "usd", "blend", "metahuman", "faceit")


def out_and_in(addon, arguments: dict) -> dict:
    """The head as it is built, then every file of it as an empty Blender reads it."""
    folder = Path(arguments["folder"])
    (head,) = shared.built(addon, arguments["result"])
    facts = shared.mesh_facts(head.object)
    facts["groups"] = [group.name for group in head.object.vertex_groups]
    facts["uv_layers"] = [layer.name for layer in head.object.data.uv_layers]
    facts["textured"] = {slot.material.name: bool(addon("head_builder").images_of(slot.material))
                         for slot in head.object.material_slots}  # fmt: skip
    facts["cut_out"] = [addon("materials").is_cut_out(slot.material) for slot in head.object.material_slots]
    options, reports = addon("export_presets"), {}
    for name in PRESETS:
        path = folder / f"{name}{options.PRESETS[name].suffix}"
        reports[name] = addon("exporting").export_head(head.object, path, options.ExportOptions(name))
    separate = options.ExportOptions("fbx", parts="separate")
    reports["separate"] = addon("exporting").export_head(head.object, folder / "separate.fbx", separate)
    facts["warnings"] = {name: list(report.warnings) for name, report in reports.items()}
    facts["notes"] = {
        name: json.loads(report.files[0].with_name(report.files[0].name + ".json").read_text("utf-8"))
        for name, report in reports.items()
    }
    for name, report in reports.items():
        facts.update({f"{name}_{key}": value for key, value in imported(report.files[0]).items()})
        if name == "separate":
            facts["separate_keys_of"] = keys_of_meshes()
    return facts


def keys_of_meshes() -> dict:
    """The keys of every mesh in the file, without the basis."""
    import bpy

    meshes = [item for item in bpy.data.objects if item.type == "MESH"]
    return {item.name: item.data.shape_keys.key_blocks.keys()[1:] if item.data.shape_keys else [] for item in meshes}


def record(addon, arguments: dict) -> dict:
    """What the head says of its face model and licences, in the panel, as an asset, and after the record was stored."""
    import bpy
    from recording_layout import RecordingLayout

    (head,) = shared.built(addon, arguments["result"])
    bpy.context.view_layer.objects.active = head.object
    layout = RecordingLayout()
    addon("panels.head").draw(layout, bpy.context)
    stored = addon("head_record").record_of(head.object)
    description = addon("head_asset").details_of(head.object).description
    older = json.loads(head.object["lifemask"])
    for name in ("licences", "face_model_label"):
        del older[name]
    head.object["lifemask"] = json.dumps({**older, "of a newer Lifemask": 1})
    again = addon("head_record").record_of(head.object)
    return {
        "texts": layout.record.texts,
        "label": stored.face_model_label,
        "licences": [dict(each) for each in stored.licences],
        "may_be_sold": stored.may_be_sold,
        "older": [again.face_model, list(again.licences), again.may_be_sold],
        "asset": description,
    }


SCENARIOS = {function.__name__: function for function in (out_and_in, record)}

if __name__ == "__main__":
    shared.run(SCENARIOS)
