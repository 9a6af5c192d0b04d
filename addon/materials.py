"""One material a part of the head, right in Cycles and in EEVEE.

Every material is a single Principled BSDF with the albedo straight on its base colour, because that is what the FBX,
OBJ and glTF exporters carry over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import bpy


@dataclass(frozen=True)
class Surface:
    """How a part of a head reflects light: inputs of the Principled BSDF by their names.

    `colour` is linear RGB, used where the albedo is not.
    """

    colour: tuple[float, float, float]
    inputs: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    textured: bool = True


# Mean free paths of red, green and blue light in skin, relative; the scale beside them is in metres.
SKIN_RADIUS = (1.0, 0.37, 0.2)

SURFACES: dict[str, Surface] = {
    "skin": Surface(
        (0.45, 0.26, 0.19),
        {
            "Roughness": 0.48,
            "Specular IOR Level": 0.4,
            "Subsurface Weight": 0.35,
            "Subsurface Radius": SKIN_RADIUS,
            "Subsurface Scale": 0.004,
        },
    ),
    "mouth_inside": Surface(
        (0.25, 0.07, 0.06),
        {"Roughness": 0.35, "Coat Weight": 0.3, "Coat Roughness": 0.15, "Subsurface Weight": 0.1,
         "Subsurface Radius": SKIN_RADIUS, "Subsurface Scale": 0.002},
    ),
    "eyeball": Surface(
        (0.6, 0.55, 0.52),
        # The coat is the film of tears over sclera and cornea.
        {"Roughness": 0.25, "IOR": 1.376, "Specular IOR Level": 0.5, "Coat Weight": 1.0, "Coat Roughness": 0.02,
         "Coat IOR": 1.376, "Subsurface Weight": 0.08, "Subsurface Radius": SKIN_RADIUS, "Subsurface Scale": 0.001},
    ),
    "teeth": Surface(
        (0.62, 0.55, 0.44),
        {"Roughness": 0.2, "IOR": 1.6, "Coat Weight": 0.3, "Coat Roughness": 0.05, "Subsurface Weight": 0.1,
         "Subsurface Radius": (1.0, 0.8, 0.6), "Subsurface Scale": 0.001},
    ),
    "tongue": Surface(
        (0.35, 0.11, 0.1),
        {"Roughness": 0.35, "Coat Weight": 0.4, "Coat Roughness": 0.12, "Subsurface Weight": 0.2,
         "Subsurface Radius": SKIN_RADIUS, "Subsurface Scale": 0.002},
    ),
    "gums": Surface(
        (0.36, 0.12, 0.11),
        {"Roughness": 0.3, "Coat Weight": 0.4, "Coat Roughness": 0.12, "Subsurface Weight": 0.15,
         "Subsurface Radius": SKIN_RADIUS, "Subsurface Scale": 0.002},
    ),
    "eye_socket": Surface(
        (0.25, 0.08, 0.07),
        {"Roughness": 0.4, "Coat Weight": 0.2, "Coat Roughness": 0.15, "Subsurface Weight": 0.15,
         "Subsurface Radius": SKIN_RADIUS, "Subsurface Scale": 0.002},
    ),
    "lashes": Surface((0.012, 0.008, 0.006), {"Roughness": 0.6, "Specular IOR Level": 0.2}, textured=False),
}  # fmt: skip
OTHER_PART = Surface((0.5, 0.5, 0.5), {"Roughness": 0.5})


def surface_of(part: str) -> Surface:
    """The surface of a part by its name or its beginning: `eyeball_left` is an eyeball, `teeth_upper` are teeth."""
    words = part.split("_")
    beginnings = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((SURFACES[name] for name in beginnings if name in SURFACES), OTHER_PART)


def add_material(
    part: str, albedo: bpy.types.Image | None, cut_out: tuple[bpy.types.Image, str] | None = None
) -> bpy.types.Material:
    """A material named after the part, with the albedo where the part has one and there is one.

    `cut_out` is a picture with colour and alpha that takes the albedo's place, and the UV map it lies on.
    """
    surface = surface_of(part)
    material = bpy.data.materials.new(part)
    if bpy.app.version < (5, 0, 0):  # later ones always have nodes, and the switch will go
        material.use_nodes = True
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    for name, value in surface.inputs.items():
        shader.inputs[name].default_value = value
    shader.inputs["Base Color"].default_value = (*surface.colour, 1.0)
    material.diffuse_color = (*surface.colour, 1.0)
    material.roughness = shader.inputs["Roughness"].default_value
    picture = cut_out[0] if cut_out else albedo if surface.textured else None
    if picture is not None:
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image = picture
        texture.location = (shader.location.x - 320, shader.location.y)
        tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    if cut_out:
        tree.links.new(texture.outputs["Alpha"], shader.inputs["Alpha"])
        uv = tree.nodes.new("ShaderNodeUVMap")
        uv.uv_map = cut_out[1]
        uv.location = (texture.location.x - 200, texture.location.y)
        tree.links.new(uv.outputs["UV"], texture.inputs["Vector"])
    return material


def add_normal_map(material: bpy.types.Material, picture: bpy.types.Image) -> None:
    """Put a tangent-space normal map on a material's Principled BSDF, as exporters expect it."""
    tree = material.node_tree
    shader = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        return
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = picture
    normal = tree.nodes.new("ShaderNodeNormalMap")
    tree.links.new(texture.outputs["Color"], normal.inputs["Color"])
    tree.links.new(normal.outputs["Normal"], shader.inputs["Normal"])


def is_cut_out(material: bpy.types.Material | None) -> bool:
    """Whether a picture's alpha cuts the surface out, as it does with lashes."""
    if material is None or material.node_tree is None:
        return False
    shaders = (node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    return any(shader.inputs["Alpha"].is_linked for shader in shaders)
