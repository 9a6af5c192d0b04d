"""Draws random people and every shape of the open head for docs/open-head.md: `python3 -m training contact-sheets`."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead
from backend.face_models.rendered_landmarks import plain_colours
from backend.rendering.camera import Camera
from backend.rendering.shading import TextureMap, render_head

FOLDER = Path(__file__).parents[2] / "docs/images"
PEOPLE, FIRST_SEED, COLUMNS = 24, 100, 6
BACKGROUND = 120
DISTANCE = 1.2


def picture(
    model: OpenHead,
    vertices: np.ndarray,
    size: int,
    yaw: float,
    width_metres: float,
    target: tuple[float, float, float],
) -> np.ndarray:
    """One head, (size, size, 3) uint8: `yaw` degrees, `width_metres` across the picture at `target`."""
    focal = size * DISTANCE / width_metres
    camera = Camera.orbit(np.radians(yaw), 0.0, DISTANCE, size, focal_pixels=focal, target=target)
    drawn = render_head(vertices, model.topology.triangles, camera, plain_colours(model.masks), supersampling=2)
    return _on_grey(drawn)


def people_sheet(model: OpenHead) -> np.ndarray:
    """Random people, a third of them turned."""
    cells = []
    for number in range(PEOPLE):
        generator = np.random.default_rng(FIRST_SEED + number)
        neutral = model.neutral(generator.standard_normal(model.identity_size))
        cells.append(picture(model, neutral, 250, (0, 35, -35)[number % 3], 0.3, (0.0, -0.03, -0.04)))
    return _sheet(cells, COLUMNS)


def shapes_sheet(model: OpenHead) -> np.ndarray:
    """Every ARKit shape at 1 on the mean head, and mouthClose with jawOpen, as it is meant."""
    neutral = model.neutral(np.zeros(1))
    keys = model.key_offsets(neutral)
    poses = {name: {name: 1.0} for name in keys.names if not name.endswith("Corrective")}
    poses["jawOpen + mouthClose"] = {"jawOpen": 1.0, "mouthClose": 1.0}
    poses["jawOpen + tongueOut"] = {"jawOpen": 0.7, "tongueOut": 1.0}
    cells = []
    for label, weights in poses.items():
        cell = picture(model, keys.apply(neutral, weights), 200, 15, 0.22, (0.0, -0.035, 0.0))
        cv2.putText(cell, label, (5, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    return _sheet(cells, 9)


def layout_sheet(model: OpenHead) -> np.ndarray:
    """The texture's layout beside the mean head with a chequered texture."""
    side = 1024
    row, column = np.mgrid[:side, :side]
    chequer = ((row // 16 + column // 16) % 2)[..., None]
    gradient = np.stack([column * 255 // side, row * 255 // side, np.full_like(row, 130)], axis=-1)
    texture = np.where(chequer == 0, 230, gradient).astype(np.uint8)
    layout = np.full((side, side, 3), 255, np.uint8)
    corners = (model.topology.uv[model.topology.face_uv] * [side, -side] + [0, side]).astype(np.int32)
    in_face = model.masks["face"][model.topology.faces].all(axis=1)
    for inside, colour in ((False, (150, 150, 150)), (True, (200, 40, 40))):
        cv2.polylines(layout, list(corners[in_face == inside]), True, colour, 1, cv2.LINE_AA)
    laid_on = TextureMap(texture, model.topology.uv, model.topology.triangle_uv)
    neutral = model.neutral(np.zeros(1))
    views = []
    for yaw in (0, 70, 180):
        focal = 341 * DISTANCE / 0.34
        camera = Camera.orbit(np.radians(yaw), 0.0, DISTANCE, 341, focal_pixels=focal, target=(0.0, -0.035, -0.04))
        views.append(_on_grey(render_head(neutral, model.topology.triangles, camera, texture=laid_on, supersampling=2)))
    column_of_views = cv2.copyMakeBorder(np.concatenate(views), 0, side - 3 * 341, 0, 0, cv2.BORDER_REPLICATE)
    return np.concatenate([layout, column_of_views], axis=1)


def _on_grey(drawn: np.ndarray) -> np.ndarray:
    alpha = drawn[..., 3:] / 255.0
    return (drawn[..., :3] * alpha + BACKGROUND * (1 - alpha)).astype(np.uint8)


def _sheet(cells: list[np.ndarray], columns: int) -> np.ndarray:
    while len(cells) % columns:
        cells.append(np.full_like(cells[0], BACKGROUND))
    return np.concatenate([np.concatenate(cells[at : at + columns], axis=1) for at in range(0, len(cells), columns)])


def main(arguments: list[str] | None = None) -> int:
    """Writes the three pictures."""
    parser = argparse.ArgumentParser(prog="contact-sheets", description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    model = OpenHead()
    for name, draw in (("people", people_sheet), ("shapes", shapes_sheet), ("texture-layout", layout_sheet)):
        path = folder / f"open-head-{name}.jpg"
        cv2.imwrite(str(path), draw(model)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
