"""Cameras that match the photographs: same lens, same place, the photograph behind the head."""

from __future__ import annotations

import bpy
from mathutils import Matrix

from .frames import camera_matrix
from .result import Photograph, PhotographCamera

SENSOR_WIDTH_MM = 36.0
CLIP_START_METRES, CLIP_END_METRES = 0.01, 100.0


def add_camera(
    photograph: Photograph, name: str, collection: bpy.types.Collection, head: bpy.types.Object | None = None
) -> bpy.types.Object:
    """A camera that sees the head as the photograph does, with the photograph as its background.

    It is parented to `head`, so that the two can be moved together. A photograph that is not there any more leaves
    the camera without a background. Blender keeps one resolution a scene: `look_through` sets it.
    """
    matched = photograph.camera
    data = bpy.data.cameras.new(name)
    camera = bpy.data.objects.new(name, data)
    collection.objects.link(camera)
    set_lens(data, matched)
    data.clip_start, data.clip_end = CLIP_START_METRES, CLIP_END_METRES
    data.display_size = 0.05
    camera.parent = head
    camera.matrix_basis = Matrix(camera_matrix(matched.rotation, matched.translation).tolist())
    if photograph.path.is_file():
        background = data.background_images.new()
        background.image = bpy.data.images.load(str(photograph.path))
        background.alpha = 1.0
        background.display_depth = "BACK"
        background.frame_method = "STRETCH"  # the camera's frame is the picture's
        data.show_background_images = True
    return camera


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
    data["lifemask_image_size"] = [matched.width, matched.height]
    data["lifemask_pixel_aspect"] = [aspect_x, aspect_y]


def look_through(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Make this the scene's camera, with the resolution and pixel aspect of its photograph."""
    scene.camera = camera
    size, aspect = camera.data["lifemask_image_size"], camera.data["lifemask_pixel_aspect"]
    scene.render.resolution_x, scene.render.resolution_y = int(size[0]), int(size[1])
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect[0], aspect[1]


def _pixel_aspect(fx: float, fy: float) -> tuple[float, float]:
    return (fy / fx, 1.0) if fy > fx else (1.0, fx / fy)
