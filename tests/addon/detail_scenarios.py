"""Skin detail in a Blender interpreter: what the drivers do, what is baked, exported, updated. Judges nothing.

Runs as blender_scenarios.py does.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402
from export_scenarios import everything  # noqa: E402
from recording_layout import RecordingLayout  # noqa: E402


def factors(detail) -> dict:
    """The inputs of the mixing group as the drivers leave them."""
    import bpy

    graph = bpy.context.evaluated_depsgraph_get()
    node = detail.material.evaluated_get(graph).node_tree.nodes[detail.node.name]
    return {socket.name: round(socket.default_value, 5) for socket in node.inputs}


def set_keys(head, **values) -> None:
    keys = head.data.shape_keys
    if keys.animation_data:
        keys.animation_data.action = None
    for block in keys.key_blocks[1:]:
        block.value = values.get(block.name, 0.0)


def driven(addon, arguments: dict) -> dict:
    """The drivers at several expressions, a head's own copy, a removed key, and heads without detail."""
    import bpy

    module = addon("displacement")
    (head,) = shared.built(addon, arguments["result"])
    head = head.object
    detail = module.detail_of(head)
    addon("head_builder").make_independent(addon("head_builder").Head(head, (), head.users_collection[0], None))
    curves = list(detail.material.node_tree.animation_data.drivers)
    facts = {
        "method": detail.material.displacement_method,
        "valid": [curve.is_valid and curve.driver.is_valid for curve in curves],
        "need_no_permission": [c.driver.type == "AVERAGE" or c.driver.is_simple_expression for c in curves],
        "pictures": {
            name: [list(image.size), image.colorspace_settings.name, image.packed_file is not None]
            for name, image in detail.images.items()
        },
        "modifiers": len(head.modifiers),
        "factors": {},
    }
    for name, values in {
        "neutral": {},
        "inner": {"browInnerUp": 0.5},
        "left more": {"browInnerUp": 0.5, "browOuterUpLeft": 0.75},
        "right": {"browOuterUpRight": 1.0},
        "pucker": {"mouthPucker": 0.25},
    }.items():
        set_keys(head, **values)
        facts["factors"][name] = factors(detail)
    head[module.STRENGTH], head[module.PHOTOGRAPH] = 1.5, 0.25
    head.update_tag()
    facts["factors"]["sliders"] = factors(detail)
    facts["slider"] = [head.id_properties_ui(module.STRENGTH).as_dict()[name] for name in ("min", "max", "default")]
    maps = detail.maps()
    facts.update({f"map_{name}": maps.pictures[name] for name in detail.images})
    copy = head.copy()
    copy.data = head.data.copy()
    head.users_collection[0].objects.link(copy)
    facts["follows"] = [module.follows_its_head(module.detail_of(item)) for item in (head, copy)]
    facts["panel"] = {"copy": draw(copy)}
    bpy.ops.lifemask.own_detail()
    own = module.detail_of(copy)
    facts["follows"] += [module.follows_its_head(module.detail_of(item)) for item in (head, copy)]
    facts["shared"] = [own.material == detail.material, bool(set(own.images.values()) & set(detail.images.values()))]
    set_keys(copy, mouthPucker=1.0)
    facts["factors"]["of copy"], facts["factors"]["of original"] = factors(own), factors(detail)
    facts["panel"]["copy with its own"] = draw(copy)
    set_keys(head, browInnerUp=0.5)
    head.shape_key_remove(head.data.shape_keys.key_blocks["browOuterUpLeft"])
    facts["factors"]["without a key"] = factors(detail)
    (plain,) = shared.built(addon, arguments["plain"])
    skin = plain.object.material_slots[0].material
    bare = bpy.data.materials.new("bare")
    facts["plain"] = [
        module.detail_of(plain.object) is None,
        skin.displacement_method == bare.displacement_method,
        len(skin.node_tree.nodes),
        sorted(name for name in plain.object.keys() if "detail" in name),
        draw(plain.object) is None,
    ]
    return facts


def draw(head) -> dict | None:
    """What the panel of skin detail shows for a head; None where it is not there."""
    from types import SimpleNamespace

    import bpy

    bpy.context.view_layer.objects.active = head
    panel = bpy.types.LIFEMASK_PT_skin_detail
    if not panel.poll(bpy.context):
        return None
    layout = RecordingLayout()
    panel.draw(SimpleNamespace(layout=layout), bpy.context)
    return layout.record.facts()


def baked(addon, arguments: dict) -> dict:
    """The dense mesh and the normal map by the operators, and every export; then the files again."""
    import bpy

    folder = Path(arguments["folder"])
    module, baking = addon("displacement"), addon("detail_baking")
    baking.SPACING_METRES = 0.01  # the made-up head is coarse
    (head,) = shared.built(addon, arguments["result"])
    head = head.object
    bpy.context.view_layer.objects.active = head
    set_keys(head, browInnerUp=0.5)
    facts = shared.mesh_facts(head)
    before = everything()
    ended = [list(bpy.ops.lifemask.bake_detail_mesh())]
    dense = bpy.context.view_layer.objects.active
    facts["made"] = {kind: len(now) - len(before[kind]) for kind, now in everything().items() if now != before[kind]}
    facts["dense_detail"] = module.detail_of(dense) is not None
    facts["dense_name"] = dense.name
    facts["dense_drivers"] = list(addon("shape_keys").driven_keys(dense))
    facts.update({f"dense_{name}": value for name, value in shared.mesh_facts(dense).items()})
    corners, uv = baking._corners(dense.data)
    facts["dense_corner"], facts["dense_corner_uv"] = corners, uv
    smooth = head.copy()
    smooth.data = head.data.copy()
    head.users_collection[0].objects.link(smooth)
    subdivision = smooth.modifiers.new("Smooth", "SUBSURF")
    subdivision.levels = round(np.log(len(dense.data.polygons) / len(head.data.polygons)) / np.log(4))
    graph = lambda: smooth.evaluated_get(bpy.context.evaluated_depsgraph_get()).data  # noqa: E731
    for name, values in {"rest": {}, "raised": {"browInnerUp": 1.0}, "jaw": {"jawOpen": 1.0}}.items():
        set_keys(smooth, **values)
        facts[f"smooth_{name}"] = shared.coordinates(graph().vertices)
        facts[f"smooth_{name}_normals"] = addon("modified_shapes").vectors(graph().vertex_normals, "vector")
    bpy.data.objects.remove(smooth)
    bpy.context.view_layer.objects.active = head
    images = set(bpy.data.images)
    ended += [list(bpy.ops.lifemask.bake_normal_map()), list(bpy.ops.lifemask.bake_normal_map())]
    (normal,) = set(bpy.data.images) - images
    facts["normal"] = [normal.name, list(normal.size), normal.colorspace_settings.name, normal.packed_file is not None]
    facts["normal_is_png"] = normal.packed_file.data[:4] == b"\x89PNG"
    facts["normal_pixels"] = pixels_of(normal)
    set_keys(head)
    bpy.ops.lifemask.bake_normal_map()
    facts["neutral_pixels"] = pixels_of(normal)
    facts["ended"] = ended
    set_keys(head, browInnerUp=0.5)
    facts |= exports(addon, head, folder)
    facts["files"] = {name: file_facts(folder / name) for name in ("a.fbx", "a.glb", "a.obj", "a.usd", "a.blend")}
    facts["dense_files"] = {name: file_facts(folder / name) for name in ("dense.fbx", "dense.glb")}
    return facts


def exports(addon, head, folder: Path) -> dict:
    exporting, Options = addon("exporting"), addon("export_presets").ExportOptions
    before = everything()
    warnings = {}
    for name in ("a.fbx", "a.glb", "a.obj", "a.usd", "a.blend"):
        warnings[name] = list(exporting.export_head(head, folder / name, Options(name[2:])).warnings)
    for name in ("dense.fbx", "dense.glb"):
        options = Options(name[6:], displacement="applied")
        warnings[name] = list(exporting.export_head(head, folder / name, options).warnings)
    detail = addon("displacement").detail_of(head)
    node = detail.node.node_tree.nodes["neutral"]
    image, node.image = node.image, None
    warnings["gone.glb"] = list(exporting.export_head(head, folder / "gone.glb", Options("glb")).warnings)
    try:
        exporting.export_head(head, folder / "gone.fbx", Options("fbx", displacement="applied"))
    except exporting.ExportError as error:
        warnings["gone.fbx"] = str(error)
    node.image = image
    return {
        "warnings": warnings,
        "has_displacement": exporting.has_displacement(head),
        "export_changed": {k: v for k, v in everything().items() if v != before[k]},
    }


def pixels_of(image) -> np.ndarray:
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], image.channels)[..., :3]


def file_facts(path: Path) -> dict:
    """What a file says of the skin: its normal map, its keys, its displacement."""
    import bpy
    from export_scenarios import imported

    measured = imported(path)
    found = {"keys": measured["keys"], "vertices": len(measured["vertices"]), "images": measured["images"]}
    skin = next(material for material in bpy.data.materials if material.name.split(".")[0] == "skin")
    nodes = skin.node_tree.nodes
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    # (The importer of FBX puts a normal map's node there also where the file has none.)
    chain = [link.from_node for link in shader.inputs["Normal"].links]
    normal = [
        [node.type, list(link.from_node.image.size), link.from_node.image.colorspace_settings.name]
        for node in chain
        for link in node.inputs["Color"].links
    ]
    groups = [
        node for node in nodes if node.type == "GROUP" and node.node_tree and "lifemask_displacement" in node.node_tree
    ]
    output = next(node for node in nodes if node.type == "OUTPUT_MATERIAL")
    found |= {"normal": normal, "groups": len(groups), "displaced": output.inputs["Displacement"].is_linked}
    if groups:
        keys = {
            target.id
            for curve in skin.node_tree.animation_data.drivers
            for variable in curve.driver.variables
            for target in variable.targets
            if target.id_type == "KEY"
        }
        (head,) = [item for item in bpy.data.objects if item.type == "MESH"]
        found["follows itself"] = keys == {head.data.shape_keys}
        inner = [node.image for node in groups[0].node_tree.nodes if node.type == "TEX_IMAGE"]
        found["packed"] = [image.packed_file is not None for image in inner]
    return found


def updated(addon, arguments: dict) -> dict:
    """Updates with other maps, other groups, none, and again some."""
    import bpy

    module, update, record = addon("displacement"), addon("update"), addon("head_record")
    results = {
        name: addon("result").read_result(Path(arguments[name])) for name in ("result", "other", "fewer", "plain")
    }
    (built,) = shared.built(addon, arguments["result"])
    head = built.object
    addon("head_builder").make_independent(built)
    images = set(module.detail_of(head).images.values())
    head[module.STRENGTH] = 0.5
    facts = {"notes": {}, "groups": {}, "neutral": {}, "after_update": {}}
    for name in ("other", "fewer", "plain", "result"):
        told = update.update_head(head, results[name], record.describe(results[name]), bpy.context.scene)
        detail = module.detail_of(head)
        facts["notes"][name] = list(told.notes)
        facts["groups"][name] = sorted(detail.keys) if detail else None
        if detail:
            facts["neutral"][name] = float(detail.maps().pictures["neutral"].mean())
            set_keys(head, browInnerUp=0.5)
            facts["after_update"][name] = factors(detail)
        if name == "other":
            facts["same_pictures"] = set(detail.images.values()) == images
            facts["packed"] = all(image.packed_file is not None for image in images)
    facts["strength"] = head[module.STRENGTH]
    facts["trees"] = len(bpy.data.node_groups)
    return facts


def rendered(addon, arguments: dict) -> dict:
    """The head in Cycles without detail, with that of its neutral, and with wrinkles on either side."""
    import bpy

    (head,) = shared.built(addon, arguments["result"])
    head = head.object
    module, portrait = addon("displacement"), addon("portrait")
    scene = bpy.context.scene
    low, high = portrait.bounds(head)
    portrait.add_studio(scene, (low + high) / 2)
    portrait._add_camera(scene, low, high)
    facts = {}
    portrait._set_up_cycles(scene, 48, 4)
    for name, strength, values in (
        ("flat", 0.0, {}),
        ("neutral", 1.0, {}),
        ("left", 1.0, {"browOuterUpLeft": 1.0}),
        ("right", 1.0, {"browOuterUpRight": 1.0}),
    ):
        set_keys(head, **values)
        for block in head.data.shape_keys.key_blocks[1:]:  # the wrinkles alone
            block.points.foreach_set("co", shared.coordinates(head.data.vertices).ravel())
        head[module.STRENGTH] = strength
        head.update_tag()
        scene.render.filepath = str(Path(arguments["folder"]) / "picture.png")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        facts[f"rendered {name}"] = pixels_of(image)
        bpy.data.images.remove(image)
    return facts


def living(addon, arguments: dict) -> dict:
    """What follows the sliders, what is updated and what is rendered, one after another in one Blender."""
    return driven(addon, arguments) | updated(addon, arguments) | rendered(addon, arguments)


SCENARIOS = {function.__name__: function for function in (living, baked)}

if __name__ == "__main__":
    shared.run(SCENARIOS)
