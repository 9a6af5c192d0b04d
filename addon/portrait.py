"""A rendered portrait of a head: light, backdrop and camera in a scene of their own that is gone afterwards."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

YAW_DEGREES, PITCH_DEGREES = -24.0, 3.0  # where the camera stands: to the subject's right, a little above the eyes
FOCAL_LENGTH_MM = 85.0
SUBDIVISIONS = 2
HEAD_SHARE_OF_PICTURE = 0.86

# Area lights: yaw and pitch as seen from the face, distance (m), side (m), power (W), colour.
LIGHTS = {
    "Key": (-52.0, 32.0, 1.3, 0.7, 25.0, (1.0, 0.95, 0.89)),
    "Fill": (48.0, 8.0, 1.6, 1.1, 8.0, (0.9, 0.95, 1.0)),
    "Rim": (150.0, 38.0, 1.2, 0.5, 18.0, (1.0, 1.0, 1.0)),
}
WORLD_COLOUR = (0.055, 0.058, 0.062)
BACKDROP_CENTRE, BACKDROP_CORNER = (0.20, 0.205, 0.215), (0.045, 0.047, 0.05)


def render_portrait(
    head: bpy.types.Object, path: Path, size: int = 512, samples: int = 24, frame: int | None = None
) -> None:
    """Render the head as it is now (or at a frame of its action) from a three-quarter view with Cycles on the CPU.

    Args:
        head: the mesh object. It is not moved or changed.
        path: the PNG to write.
        size: pixels a side.
        samples: light paths a pixel, before denoising (where this Blender can).
        frame: of the head's action; the neutral is 0. None keeps the present values.
    """
    scene = bpy.data.scenes.new("Lifemask portrait")
    sitter = head.copy()  # shares mesh and keys with the head
    made: list[bpy.types.Object] = [sitter]
    try:
        scene.collection.objects.link(sitter)
        smooth = sitter.modifiers.new("Smooth", "SUBSURF")
        smooth.levels = smooth.render_levels = SUBDIVISIONS
        scene.frame_set(bpy.context.scene.frame_current if frame is None else frame)
        low, high = bounds(head)
        made += add_studio(scene, (low + high) / 2)
        _add_backdrop(scene.world)
        made += [_add_camera(scene, low, high)]
        _set_up_cycles(scene, size, samples)
        scene.render.filepath = str(path)
        scene.render.image_settings.file_format = "PNG"
        bpy.ops.render.render(write_still=True, scene=scene.name)
    finally:
        worlds = [scene.world] if scene.world else []
        bpy.data.batch_remove([*made, *(item.data for item in made if item is not sitter), *worlds])
        bpy.data.scenes.remove(scene)


def add_studio(scene: bpy.types.Scene, centre: Vector, collection: bpy.types.Collection | None = None) -> list:
    """Three area lights round a head and a dim even world. Returns the light objects."""
    scene.world = bpy.data.worlds.new("Studio")
    scene.world.color = WORLD_COLOUR
    if bpy.app.version < (5, 0, 0):
        scene.world.use_nodes = True
    background = next(node for node in scene.world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (*WORLD_COLOUR, 1.0)
    background.inputs["Strength"].default_value = 1.0
    lights = []
    for name, (yaw, pitch, distance, side, power, colour) in LIGHTS.items():
        data = bpy.data.lights.new(name, "AREA")
        data.shape, data.size = "SQUARE", side
        data.energy, data.color = power, colour
        light = bpy.data.objects.new(name, data)
        (collection or scene.collection).objects.link(light)
        light.matrix_world = _looking_at(centre + distance * _direction(yaw, pitch), centre)
        lights.append(light)
    return lights


def bounds(head: bpy.types.Object) -> tuple[Vector, Vector]:
    """The lowest and highest world coordinates of the head's basis."""
    points = np.empty(len(head.data.vertices) * 3, dtype=np.float32)
    head.data.vertices.foreach_get("co", points)
    matrix = np.array(head.matrix_world)
    world = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    return Vector(world.min(axis=0)), Vector(world.max(axis=0))


def _direction(yaw: float, pitch: float) -> Vector:
    """Unit vector from the head towards a place; yaw 0 is in front of the face (-Y), positive to the subject's left."""
    yaw, pitch = math.radians(yaw), math.radians(pitch)
    return Vector((math.sin(yaw) * math.cos(pitch), -math.cos(yaw) * math.cos(pitch), math.sin(pitch)))


def _looking_at(place: Vector, target: Vector) -> Matrix:
    return Matrix.Translation(place) @ (target - place).to_track_quat("-Z", "Y").to_matrix().to_4x4()


def _add_camera(scene: bpy.types.Scene, low: Vector, high: Vector) -> bpy.types.Object:
    data = bpy.data.cameras.new("Portrait")
    data.lens, data.sensor_fit, data.sensor_width = FOCAL_LENGTH_MM, "HORIZONTAL", 36.0
    data.clip_start = 0.01
    camera = bpy.data.objects.new("Portrait", data)
    scene.collection.objects.link(camera)
    height = (high - low).z / HEAD_SHARE_OF_PICTURE
    distance = height * FOCAL_LENGTH_MM / 36.0 + (high - low).y / 2
    centre = (low + high) / 2
    camera.matrix_world = _looking_at(centre + distance * _direction(YAW_DEGREES, PITCH_DEGREES), centre)
    scene.camera = camera
    return camera


def _add_backdrop(world: bpy.types.World) -> None:
    """A soft grey gradient that only the camera sees: no surface, so it costs no light paths and casts no light."""
    nodes, links = world.node_tree.nodes, world.node_tree.links
    output = next(node for node in nodes if node.type == "OUTPUT_WORLD")
    lit = next(node for node in nodes if node.type == "BACKGROUND")
    window = nodes.new("ShaderNodeTexCoord")
    across = nodes.new("ShaderNodeVectorMath")
    across.operation = "DISTANCE"
    across.inputs[1].default_value = (0.5, 0.45, 0.0)
    shade = nodes.new("ShaderNodeValToRGB")
    shade.color_ramp.elements[0].color = (*BACKDROP_CENTRE, 1.0)
    shade.color_ramp.elements[1].color = (*BACKDROP_CORNER, 1.0)
    backdrop = nodes.new("ShaderNodeBackground")
    path = nodes.new("ShaderNodeLightPath")
    mix = nodes.new("ShaderNodeMixShader")
    links.new(window.outputs["Window"], across.inputs[0])
    links.new(across.outputs["Value"], shade.inputs["Fac"])
    links.new(shade.outputs["Color"], backdrop.inputs["Color"])
    links.new(path.outputs["Is Camera Ray"], mix.inputs[0])
    links.new(lit.outputs[0], mix.inputs[1])
    links.new(backdrop.outputs[0], mix.inputs[2])
    links.new(mix.outputs[0], output.inputs["Surface"])


def _set_up_cycles(scene: bpy.types.Scene, size: int, samples: int) -> None:
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = True
    cycles.adaptive_threshold = 0.05
    cycles.adaptive_min_samples = 8
    cycles.max_bounces = 4
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.use_denoising = _can_denoise(scene)
    scene.view_settings.view_transform = "AgX"


def _can_denoise(scene: bpy.types.Scene) -> bool:
    """Whether this build has a denoiser (Debian's have none, and one of them fails where others stay silent)."""
    try:
        scene.cycles.denoiser = "OPENIMAGEDENOISE"
    except TypeError:
        return False
    return True
