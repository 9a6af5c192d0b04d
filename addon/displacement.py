"""Skin detail on a head: a node group on the skin mixes the displacement maps as the shape keys are raised.

The group's inputs are driven: on each half of the face a group of wrinkles follows the greatest of its keys. Strength
and the share of the photograph's own map are custom properties of the head. In Cycles the material displaces vertices
(as many as there are: add a Subdivision modifier for outlines) and bumps the rest, in EEVEE too. The head gets no
modifier: exporters that apply modifiers would drop its shape keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy

from . import pictures

if TYPE_CHECKING:
    from .displacement_maps import DisplacementMaps
    from .result import Displacement

STRENGTH, PHOTOGRAPH = "lifemask_detail_strength", "lifemask_detail_photograph"
"""Custom properties of a head: how strong its skin detail is, and how much of it is the photograph's own map."""

FACTS = "lifemask_displacement"
"""ID property of the node group: which keys raise which map, in JSON."""

NODE = "Skin Detail"
SKIN = "skin"
LARGEST_DISPLACEMENT_METRES = 0.01  # for EEVEE, which has to know how far vertices may move


class DetailError(Exception):
    """Skin detail that cannot be worked with; the text is a sentence for a person."""


@dataclass(frozen=True)
class Detail:
    """The skin detail of a head.

    Attributes:
        head: the mesh object.
        material: of its skin.
        node: in the material, with the group.
        keys: group -> the keys that raise it on the left and on the right half of the face.
        left_is_greater_u: whether the subject's left half of the face lies at u > 0.5.
    """

    head: bpy.types.Object
    material: bpy.types.Material
    node: bpy.types.ShaderNodeGroup
    keys: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    left_is_greater_u: bool

    @property
    def slots(self) -> list[int]:
        """Indices of the head's material slots with this skin."""
        return [number for number, slot in enumerate(self.head.material_slots) if slot.material == self.material]

    @property
    def images(self) -> dict[str, bpy.types.Image | None]:
        """The maps by their names; None for one that was taken out of its node."""
        return {node.name: node.image for node in self.node.node_tree.nodes if node.type == "TEX_IMAGE"}

    @property
    def strength(self) -> float:
        return float(self.head.get(STRENGTH, 1.0))

    @property
    def photograph(self) -> float:
        return float(self.head.get(PHOTOGRAPH, 0.0))

    def maps(self) -> DisplacementMaps:
        """The maps as they are in the file now. They are read when they are needed: DetailError where one is gone."""
        from .displacement_maps import DisplacementMaps

        return DisplacementMaps(_PicturesRead(self.images), self.keys, self.left_is_greater_u)


def detail_of(head: bpy.types.Object) -> Detail | None:
    """The skin detail of a head, or None for one that has none."""
    for slot in head.material_slots:
        node = _node_of(slot.material)
        if node is not None:
            facts = json.loads(node.node_tree[FACTS])
            keys = {name: (tuple(left), tuple(right)) for name, (left, right) in facts["keys"].items()}
            return Detail(head, slot.material, node, keys, facts["left_is_greater_u"])
    return None


def add(head: bpy.types.Object, material: bpy.types.Material, displacement: Displacement) -> Detail:
    """Give the skin of a head displacement maps that follow its shape keys.

    Raises RuntimeError when a map cannot be read, or where the material has no output.
    """
    images = {name: _load(path) for name, path in displacement.maps.items()}
    nodes, links = material.node_tree.nodes, material.node_tree.links
    output = _output_of(material)
    node = nodes.new("ShaderNodeGroup")
    node.name = node.label = NODE
    node.node_tree = _mixing_group(head.name, images, displacement)
    moved = nodes.new("ShaderNodeDisplacement")
    moved.inputs["Midlevel"].default_value = 0.0
    moved.inputs["Scale"].default_value = 1.0
    moved.location = (output.location.x - 200, output.location.y - 200)
    node.location = (moved.location.x - 240, moved.location.y)
    links.new(node.outputs[0], moved.inputs["Height"])
    links.new(moved.outputs[0], output.inputs["Displacement"])
    material.displacement_method = "BOTH"
    material.max_vertex_displacement = LARGEST_DISPLACEMENT_METRES
    _add_property(head, STRENGTH, 1.0, 2.0, "How strong the skin's wrinkles and pores are")
    _add_property(head, PHOTOGRAPH, 0.0, 1.0, "0: wrinkles follow the shape keys. 1: as in the photograph, always")
    detail = detail_of(head)
    drive(detail)
    return detail


def update(head: bpy.types.Object, displacement: Displacement | None) -> list[str]:
    """Put the maps of a new result in the place of a head's; returns sentences on what was not as expected."""
    detail = detail_of(head)
    if displacement is None:
        if detail is None:
            return []
        remove(detail.material)
        return [f"The new figures have no skin detail, so that of {head.name} was removed."]
    if detail is None:
        skins = [slot.material for slot in head.material_slots if slot.material]
        skin = next((material for material in skins if material.name.split(".")[0] == SKIN), None)
        if skin is None or _output_of(skin) is None or _output_of(skin).inputs["Displacement"].is_linked:
            return [f"{head.name} has no material of its skin that is free for displacement: no skin detail was added."]
        for image in add(head, skin, displacement).images.values():
            pictures.pack(image)
        return []
    present = detail.images
    images = {name: _load(path, present.get(name)) for name, path in displacement.maps.items()}
    for image in images.values():
        pictures.pack(image)
    keys = {name: (group.left, group.right) for name, group in displacement.groups.items()}
    if (keys, displacement.left_is_greater_u) != (detail.keys, detail.left_is_greater_u) or set(images) != set(present):
        _stop_driving(detail.node)
        old, fed = detail.node.node_tree, [link.to_socket for link in detail.node.outputs[0].links]
        detail.node.node_tree = _mixing_group(head.name, images, displacement)
        for socket in fed:
            detail.material.node_tree.links.new(detail.node.outputs[0], socket)
        if not old.users:
            bpy.data.node_groups.remove(old)
        drive(detail_of(head))
    return []


def drive(detail: Detail) -> None:
    """Let the node's inputs follow the shape keys and the properties of its head."""
    _stop_driving(detail.node)
    for name, prop, otherwise in (("Strength", STRENGTH, 1.0), ("Photograph", PHOTOGRAPH, 0.0)):
        driver = detail.node.inputs[name].driver_add("default_value").driver
        driver.type = "AVERAGE"
        _read(driver, "value", "OBJECT", detail.head, f'["{prop}"]', otherwise)
    keys = detail.head.data.shape_keys
    for group, sides in detail.keys.items() if keys else ():
        for side, names in zip(("left", "right"), sides, strict=True):
            driver = detail.node.inputs[_input_name(group, side)].driver_add("default_value").driver
            driver.type = "SCRIPTED"  # with an expression so simple that Blender never asks for a permission
            for number, key in enumerate(names):
                _read(driver, f"key{number}", "KEY", keys, f'key_blocks["{bpy.utils.escape_identifier(key)}"].value')
            values = ", ".join(variable.name for variable in driver.variables)
            driver.expression = f"min(max({values}, 0.0), 1.0)"


def follows_its_head(detail: Detail) -> bool:
    """Whether the wrinkles follow the keys of this head: those of a duplicate follow the head that it is a copy of."""
    animation = detail.material.node_tree.animation_data
    read = {
        target.id
        for curve in (animation.drivers if animation else ())
        for variable in curve.driver.variables
        for target in variable.targets
        if target.id_type == "KEY" and curve.data_path.startswith(detail.node.path_from_id())
    }
    return read <= {detail.head.data.shape_keys}


def follow_head(head: bpy.types.Object) -> None:
    """Let the wrinkles of a head follow its own keys and properties; nothing for a head without skin detail."""
    detail = detail_of(head)
    if detail is not None:
        drive(detail)


def make_own(head: bpy.types.Object) -> None:
    """Give a duplicated head its own skin, maps and drivers; the head that it is a copy of stays as it is."""
    detail = detail_of(head)
    if detail is None:
        return
    if _is_used_elsewhere(detail):
        copy = detail.material.copy()
        for number in detail.slots:
            head.material_slots[number].material = copy
        detail = detail_of(head)
        detail.node.node_tree = detail.node.node_tree.copy()
        for node in detail.node.node_tree.nodes:
            if node.type == "TEX_IMAGE" and node.image is not None:
                node.image = node.image.copy()
    follow_head(head)


def remove(material: bpy.types.Material) -> None:
    """Take the displacement out of a material; a material without it is left alone."""
    node = _node_of(material)
    if node is None:
        return
    _stop_driving(node)
    tree, nodes = node.node_tree, material.node_tree.nodes
    for link in list(node.outputs[0].links):
        if link.to_node.type == "DISPLACEMENT":
            nodes.remove(link.to_node)
    nodes.remove(node)
    material.displacement_method = "BUMP"
    if not tree.users:
        bpy.data.node_groups.remove(tree)


def _load(path, present: bpy.types.Image | None = None) -> bpy.types.Image:
    image = pictures.load(path, present)
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "NONE"
    image.use_half_precision = False  # steps of a micrometre in a millimetre would show in the light
    return image


class _PicturesRead(dict):
    """Map name -> array, read from its picture when it is first asked for."""

    def __init__(self, images: Mapping[str, bpy.types.Image | None]) -> None:
        super().__init__()
        self._images = images

    def __missing__(self, name: str):
        self[name] = _pixels(name, self._images.get(name))
        return self[name]


def _pixels(name: str, image: bpy.types.Image | None):
    """(H, W) float32: the first channel of a picture, bottom row first."""
    import numpy as np

    width, height = image.size if image is not None else (0, 0)
    if not width or not height:
        raise DetailError(f"The displacement map {name} is gone. Update the head from its photographs.")
    values = np.empty(width * height * image.channels, dtype=np.float32)
    image.pixels.foreach_get(values)
    return np.ascontiguousarray(values.reshape(height, width, image.channels)[..., 0])


def _mixing_group(name: str, images: Mapping[str, bpy.types.Image], displacement: Displacement):
    """A node group that mixes the maps as `DisplacementMaps.mixed` does. Its output is metres."""
    from .displacement_maps import HALF_BAND, NEUTRAL_MAP, PHOTO_MAP

    tree = bpy.data.node_groups.new(f"{name} skin detail", "ShaderNodeTree")
    tree[FACTS] = json.dumps(
        {
            "keys": {name: [group.left, group.right] for name, group in displacement.groups.items()},
            "left_is_greater_u": displacement.left_is_greater_u,
        }
    )
    nodes, links = tree.nodes, tree.links

    def socket(name: str, default: float, largest: float) -> None:
        made = tree.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat")
        made.default_value, made.min_value, made.max_value = default, 0.0, largest

    def node(kind: str, column: int, row: int):
        made = nodes.new(kind)
        made.location = (220 * column, -180 * row)
        return made

    def math(operation: str, column: int, row: int, *values):
        made = node("ShaderNodeMath", column, row)
        made.operation = operation
        for target, value in zip(made.inputs, values, strict=False):
            links.new(value, target)
        return made.outputs[0]

    def picture(name: str, row: int):
        made = node("ShaderNodeTexImage", 0, row)
        made.name = made.label = name
        made.image = images[name]
        return made.outputs["Color"]

    socket("Strength", 1.0, 2.0)
    socket("Photograph", 0.0, 1.0)
    for group in displacement.groups:
        for side in ("left", "right"):
            socket(_input_name(group, side), 0.0, 1.0)
    tree.interface.new_socket("Height", in_out="OUTPUT", socket_type="NodeSocketFloat")
    given = node("NodeGroupInput", 0, -3).outputs
    across = node("ShaderNodeSeparateXYZ", 1, -2)
    links.new(node("ShaderNodeUVMap", 0, -2).outputs["UV"], across.inputs[0])
    step = node("ShaderNodeMapRange", 2, -2)
    step.interpolation_type = "SMOOTHSTEP"
    step.inputs["From Min"].default_value = 0.5 - HALF_BAND
    step.inputs["From Max"].default_value = 0.5 + HALF_BAND
    is_left = float(displacement.left_is_greater_u)
    step.inputs["To Min"].default_value, step.inputs["To Max"].default_value = 1.0 - is_left, is_left
    links.new(across.outputs["X"], step.inputs["Value"])
    left = step.outputs["Result"]
    neutral = picture(NEUTRAL_MAP, 0)
    mix = neutral
    for number, group in enumerate(displacement.groups):
        row = 2 + 2 * number
        on_left, on_right = (given[_input_name(group, side)] for side in ("left", "right"))
        difference = math("SUBTRACT", 2, row + 1, on_left, on_right)
        share = math("MULTIPLY_ADD", 3, row + 1, difference, left, on_right)
        wrinkles = math("SUBTRACT", 2, row, picture(group, row), neutral)
        mix = math("MULTIPLY_ADD", 4 + number, row, share, wrinkles, mix)
    last = 4 + len(displacement.groups)
    towards = math("SUBTRACT", last, 1, picture(PHOTO_MAP, 1), mix)
    mix = math("MULTIPLY_ADD", last + 1, 0, given["Photograph"], towards, mix)
    height = math("MULTIPLY", last + 2, 0, mix, given["Strength"])
    links.new(height, node("NodeGroupOutput", last + 3, 0).inputs[0])
    return tree


def _input_name(group: str, side: str) -> str:
    return f"{group} {side}"


def _read(driver: bpy.types.Driver, name: str, kind: str, owner: bpy.types.ID, path: str, otherwise=0.0) -> None:
    """A variable of a driver; `otherwise` where the property was removed."""
    variable = driver.variables.new()
    variable.name = name
    variable.type = "SINGLE_PROP"
    target = variable.targets[0]
    target.id_type = kind
    target.id = owner
    target.data_path = path
    target.use_fallback_value = True
    target.fallback_value = otherwise


def _stop_driving(node: bpy.types.ShaderNodeGroup) -> None:
    for socket in node.inputs:
        socket.driver_remove("default_value")


def _add_property(head: bpy.types.Object, name: str, value: float, largest: float, description: str) -> None:
    if name not in head:
        head[name] = value
    head.id_properties_ui(name).update(
        min=0.0, max=largest, soft_min=0.0, soft_max=largest, default=value, description=description
    )


def _node_of(material: bpy.types.Material | None) -> bpy.types.ShaderNodeGroup | None:
    nodes = material.node_tree.nodes if material and material.node_tree else ()
    return next((node for node in nodes if node.type == "GROUP" and node.node_tree and FACTS in node.node_tree), None)


def _output_of(material: bpy.types.Material) -> bpy.types.ShaderNodeOutputMaterial | None:
    nodes = material.node_tree.nodes if material.node_tree else ()
    outputs = [node for node in nodes if node.type == "OUTPUT_MATERIAL"]
    return next((node for node in outputs if node.is_active_output), outputs[0] if outputs else None)


def _is_used_elsewhere(detail: Detail) -> bool:
    """Whether another mesh, or a head made of it, shows the same skin or the same maps."""
    others = (item for item in bpy.data.objects if item.type == "MESH" and item.data != detail.head.data)
    shown = [slot.material for item in others for slot in item.material_slots]
    return any(
        material == detail.material or (node is not None and node.node_tree == detail.node.node_tree)
        for material in shown
        if (node := _node_of(material)) is not None or material == detail.material
    )
