"""Cameras that match the photographs: same lens, same place, the photograph behind the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from . import pictures
from .head_record import IMAGE_SIZE

if TYPE_CHECKING:
    from .result import Photograph, PhotographCamera

PIXEL_ASPECT, NUMBER = "lifemask_pixel_aspect", "lifemask_photograph"
"""ID properties of a matched camera, beside `IMAGE_SIZE`: its photograph's pixel aspect and number."""

SENSOR_WIDTH_MM = 36.0
CLIP_START_METRES, CLIP_END_METRES = 0.01, 100.0


def add_camera(
    photograph: Photograph,
    name: str,
    collection: bpy.types.Collection,
    head: bpy.types.Object | None = None,
    number: int = 0,
) -> bpy.types.Object:
    """A camera that sees the head as the photograph does, with the photograph as its background.

    It is parented to `head`, so that the two can be moved together; `number` says which photograph of the head it
    belongs to. A photograph that is not there any more leaves the camera without a background. Blender keeps one
    resolution a scene: `look_through` sets it.
    """
    data = bpy.data.cameras.new(name)
    camera = bpy.data.objects.new(name, data)
    collection.objects.link(camera)
    data.clip_start, data.clip_end = CLIP_START_METRES, CLIP_END_METRES
    data.display_size = 0.05
    data[NUMBER] = number
    camera.parent = head
    match(camera, photograph)
    return camera


def match(camera: bpy.types.Object, photograph: Photograph) -> None:
    """Give a camera the lens, the place relative to its parent and the background of a photograph."""
    from .frames import camera_matrix

    data, matched = camera.data, photograph.camera
    set_lens(data, matched)
    camera.matrix_basis = Matrix(camera_matrix(matched.rotation, matched.translation).tolist())
    if not photograph.path.is_file():
        return
    if data.background_images:
        background = data.background_images[0]
    else:
        background = data.background_images.new()
        background.alpha = 1.0
        background.display_depth = "BACK"
        background.frame_method = "STRETCH"  # the camera's frame is the picture's
        data.show_background_images = True
    background.image = pictures.load(photograph.path, background.image)


def cameras_of(head: bpy.types.Object) -> dict[int, bpy.types.Object]:
    """The matched cameras of a head by the number of their photograph; those that were removed are missing.

    A copy that somebody made of one, to move it, is not matched: Blender gives it the name that sorts later.
    """
    matched = [child for child in head.children if child.type == "CAMERA" and IMAGE_SIZE in child.data]
    return {int(camera.data.get(NUMBER, 0)): camera for camera in sorted(matched, key=_name, reverse=True)}


def set_lens(data: bpy.types.Camera, matched: PhotographCamera) -> None:
    """Focal length and shift of an OpenCV pinhole; the image size is stored on the camera for `look_through`.

    Blender's shift is in widths of the picture and moves the view, so the picture moves the other way. Oblong pixels
    become the scene's pixel aspect, of which the smaller side is 1.
    """
    aspect_x, aspect_y = _pixel_aspect(matched.fx, matched.fy)
    data.type = "PERSP"
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_WIDTH_MM
    data.lens = matched.fx * SENSOR_WIDTH_MM / matched.width
    data.shift_x = (matched.width / 2 - matched.cx) / matched.width
    data.shift_y = (matched.cy - matched.height / 2) / matched.width * aspect_y / aspect_x
    data[IMAGE_SIZE] = [matched.width, matched.height]
    data[PIXEL_ASPECT] = [aspect_x, aspect_y]


def look_through(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Make this the scene's camera, with the resolution and pixel aspect of its photograph."""
    scene.camera = camera
    size, aspect = camera.data[IMAGE_SIZE], camera.data[PIXEL_ASPECT]
    scene.render.resolution_x, scene.render.resolution_y = int(size[0]), int(size[1])
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect[0], aspect[1]


def _name(camera: bpy.types.Object) -> str:
    return camera.name


def _pixel_aspect(fx: float, fy: float) -> tuple[float, float]:
    return (fy / fx, 1.0) if fy > fx else (1.0, fx / fy)
