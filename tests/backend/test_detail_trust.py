"""Where skin detail of a photograph is trusted: real photographs, and what is done to them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.detail_trust import JudgedPhotograph, detail_trust
from backend.face_models.morphable_model import MorphableModel
from backend.face_parsing import FaceParser, read_face_parser
from backend.photographs import load_photograph
from backend.pipeline import fit_photographs
from backend.rendering.camera import Camera
from backend.texture_evidence import Evidence, HeadRegions, TextureView
from backend.texture_parts import part_texels

ASTRONAUT = Path(__file__).parents[2] / "backend" / "assets" / "demo" / "astronaut.png"
UV_SIDE = 384
"""Texels of 0.75 mm."""


@dataclass(frozen=True)
class Sitter:
    """A photograph with the head fitted to it."""

    model: MorphableModel
    regions: HeadRegions
    parser: FaceParser
    posed: np.ndarray
    camera: Camera
    image: np.ndarray

    @classmethod
    def of(cls, path: Path, share: float = 1.0) -> "Sitter":
        picture = load_photograph(path)
        image = cv2.resize(picture.image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        head = fit_photographs([image], [picture.focal_35mm])
        found = head.photographs[0]
        return cls(head.model, HeadRegions.of(head.model), read_face_parser(), found.posed, found.camera, image)

    def evidence(self, image: np.ndarray, camera: Camera | None = None) -> Evidence:
        return Evidence(self.model, self.regions, TextureView(self.posed, camera or self.camera, image))

    def trust(self, image: np.ndarray, camera: Camera | None = None) -> tuple[np.ndarray, list[str]]:
        """(V,) at the vertices, and the codes of the remarks."""
        one = self.evidence(image, camera)
        trust, remarks = detail_trust(
            self.model, self.posed, one.view.camera, image, self.posed, one.normals, self.parser, evidence=one
        )
        return trust, [remark.code for remark in remarks]

    @property
    def pixels(self) -> np.ndarray:
        """(V, 2) where the vertices lie in the photograph."""
        return self.camera.project(self.posed)

    @property
    def landmarks68(self) -> np.ndarray:
        return self.camera.project(self.model.landmarks68(self.posed))

    @property
    def front(self) -> np.ndarray:
        """(V,) bool: cheeks and the lower forehead."""
        x, y, z = self.model.mean.T
        masks = self.model.masks
        middle = masks["outer_skin"] & (np.abs(x) < 0.04) & (z > z.max() - 0.06)
        cheeks = masks["cheeks"] & middle & (y < -0.03) & (y > -0.055) & ~masks["nose"]
        forehead = masks["forehead"] & middle & (y > 0.03) & (y < 0.045)
        return cheeks | forehead


@pytest.fixture(scope="module")
def astronaut():
    return Sitter.of(ASTRONAUT)


@pytest.fixture(scope="module")
def lisa(data_folder):
    return Sitter.of(data_folder / "photos" / "lisa" / "45cm.jpg", 0.75)


@pytest.fixture(scope="module")
def bare(lisa):
    """Trust in the photograph as it is, and the codes of what is said."""
    return lisa.trust(lisa.image)


def with_glasses(sitter: Sitter) -> tuple[np.ndarray, np.ndarray]:
    """The photograph with black frames painted on it, and (H, W) bool where they are."""
    points = sitter.landmarks68
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    apart = np.linalg.norm(eyes[1] - eyes[0])
    frame = np.zeros(sitter.image.shape[:2], np.uint8)
    for eye in eyes:
        middle = np.round(eye + [0, 0.08 * apart]).astype(int)
        cv2.ellipse(frame, middle.tolist(), (int(0.42 * apart), int(0.33 * apart)), 0, 0, 360, 1, int(0.06 * apart))
    image = sitter.image.copy()
    image[frame > 0] = (25, 22, 22)
    return image, frame > 0


def at_vertices(sitter: Sitter, mask: np.ndarray, reach: int = 0) -> np.ndarray:
    """(V,) bool: vertices at pixels of a mask, grown by a reach in pixels."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
    x, y = np.clip(sitter.pixels.astype(int), 0, np.array(mask.shape[::-1]) - 1).T
    return grown[y, x] > 0


def test_bare_skin_in_a_sharp_photograph_is_trusted_and_nothing_is_said(lisa, bare):
    trust, codes = bare
    assert codes == []
    assert np.median(trust[lisa.front]) > 0.85
    assert (trust[lisa.front] > 0.5).mean() > 0.9
    ears = lisa.model.masks["ears"]
    assert trust[ears].max() < 0.1
    brows = trust[lisa.model.masks["brows"]]
    assert np.median(brows) < 0.1  # hair is no relief of the skin


def test_evidence_that_was_made_before_says_the_same_and_none_is_made_again(lisa, bare, monkeypatch):
    one = lisa.evidence(lisa.image)
    again, _ = detail_trust(lisa.model, lisa.posed, lisa.camera, lisa.image, lisa.posed, one.normals)
    assert np.array_equal(again, bare[0])
    monkeypatch.setattr("backend.detail_trust.Evidence", None)
    none, _ = detail_trust(
        lisa.model, lisa.posed, lisa.camera, lisa.image, np.zeros((0, 3)), np.zeros((0, 3)), evidence=one
    )
    assert none.shape == (0,)


def test_frames_of_glasses_are_not_trusted_and_the_rest_is_as_before(lisa, bare):
    image, frames = with_glasses(lisa)
    trust, codes = lisa.trust(image)
    assert (bare[0][at_vertices(lisa, frames)] > 0.5).sum() > 25
    assert trust[at_vertices(lisa, frames)].max() < 0.1
    cheeks = lisa.front & (lisa.model.mean[:, 1] < -0.04) & ~at_vertices(lisa, frames, 30)
    assert np.abs(trust - bare[0])[cheeks].max() < 0.1
    assert codes == ["face-covered"]


def test_trust_has_no_edges(lisa):
    image, _ = with_glasses(lisa)
    topology = lisa.model.topology
    texels = part_texels(topology, np.flatnonzero(lisa.regions.triangle_is_skin), UV_SIDE)
    one = lisa.evidence(image)
    points, normals = (texels.interpolate(values, topology.triangles) for values in (lisa.posed, one.normals))
    trust = JudgedPhotograph(one, lisa.parser).trust(points, normals)
    front = lisa.model.masks["cheeks"] | lisa.model.masks["forehead"]
    front = texels.interpolate(front.astype(np.float32)[:, None], topology.triangles)[:, 0] > 0.99
    square = np.full(UV_SIDE**2, np.nan, np.float32)
    square[texels.texel[front]] = trust[front]
    square = square.reshape(UV_SIDE, UV_SIDE)
    assert np.nanmax(square) > 0.9 and np.nanmin(square) == 0
    for axis in range(2):
        assert np.nanmax(np.abs(np.diff(square, axis=axis))) < 0.4  # 0.75 mm on the mean head, and more on some


def test_a_hand_of_the_colour_of_the_face_is_told_by_the_eye_that_it_hides(lisa, bare):
    points = lisa.landmarks68
    eye, apart = points[36:42].mean(axis=0), np.linalg.norm(points[45] - points[36])
    hand = np.zeros(lisa.image.shape[:2], np.uint8)
    cv2.ellipse(hand, np.round(eye).astype(int).tolist(), (int(0.32 * apart), int(0.45 * apart)), 0, 0, 360, 1, -1)
    cheek = np.median(lisa.image[tuple(np.round(lisa.pixels[lisa.front]).astype(int)[:, ::-1].T)], axis=0)
    cover = cv2.GaussianBlur(hand.astype(np.float32), (0, 0), 3)[..., None]
    trust, codes = lisa.trust((lisa.image * (1 - cover) + cheek * cover).astype(np.uint8))
    near = at_vertices(lisa, hand > 0) & (bare[0] > 0.8) & (np.hypot(*(lisa.pixels - eye).T) < 0.25 * apart)
    assert near.sum() > 20
    assert trust[near].max() < 0.1
    other = lisa.front & (lisa.model.mean[:, 0] > 0.015)  # the subject's left
    assert np.abs(trust - bare[0])[other].mean() < 0.05


def test_behind_a_mask_nothing_is_trusted_since_the_cheeks_do_not_show_the_skin(lisa):
    points = lisa.landmarks68
    outline = np.concatenate([points[1:16], points[[28]]])
    image = cv2.fillPoly(lisa.image.copy(), [np.round(outline).astype(np.int32)], (120, 165, 190))
    trust, codes = lisa.trust(image)
    assert trust.max() < 0.05
    assert "face-covered" in codes


def test_what_a_flash_burnt_out_is_not_trusted(lisa, bare):
    place = lisa.landmarks68[[36, 31, 48]].mean(axis=0)
    rows, columns = np.mgrid[: lisa.image.shape[0], : lisa.image.shape[1]]
    apart = np.hypot(columns - place[0], rows - place[1])
    flash = np.exp(-((apart / 60) ** 2))[..., None] * 160
    image = np.clip(lisa.image + flash, 0, 255).astype(np.uint8)
    trust, codes = lisa.trust(image)
    burnt = image.max(axis=2) >= 250
    within = at_vertices(lisa, cv2.erode(burnt.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & (bare[0] > 0.5)
    assert within.sum() > 20
    assert trust[within].max() < 0.1
    far = lisa.front & ~at_vertices(lisa, apart < 130)
    assert np.abs(trust - bare[0])[far].mean() < 0.05
    assert codes == ["face-burnt"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 8), "face-blurred"),
        (lambda image: cv2.resize(cv2.resize(image, None, fx=1 / 20, fy=1 / 20, interpolation=cv2.INTER_AREA),
                                  image.shape[1::-1], interpolation=cv2.INTER_CUBIC), "face-blurred"),
        (lambda image: cv2.filter2D(image, -1, np.full((1, 75), 1 / 75)), "face-blurred"),
        (lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 1),
         "face-compressed"),
        (lambda image: (image * 0.05).astype(np.uint8), "face-dark"),
    ],
    ids=["blurred", "enlarged", "shaken", "compressed", "dark"],
)  # fmt: skip
def test_a_spoilt_photograph_is_hardly_trusted_and_the_person_is_told_why(lisa, spoil, code):
    trust, codes = lisa.trust(spoil(lisa.image))
    assert np.median(trust[lisa.front]) < 0.25
    assert code in codes


def test_many_pixels_count_for_nothing_without_fine_detail(lisa):
    small = cv2.resize(lisa.image, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(small, lisa.image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    height, width = small.shape[:2]
    as_small = JudgedPhotograph(lisa.evidence(small, lisa.camera.resized(width, height)), lisa.parser)
    as_enlarged = JudgedPhotograph(lisa.evidence(enlarged), lisa.parser)
    assert as_enlarged.pixels_per_mm == pytest.approx(4 * as_small.pixels_per_mm, rel=0.03)
    assert as_small.fine_pixels_per_mm == as_small.pixels_per_mm
    assert as_enlarged.fine_pixels_per_mm < 0.6 * as_enlarged.pixels_per_mm


def test_a_face_of_50_pixels_gives_nothing_and_the_person_is_told_its_name_and_size(astronaut):
    left, right = astronaut.landmarks68[[0, 16], 0]
    share = 50 / (right - left)
    height, width = (round(side * share) for side in astronaut.image.shape[:2])
    image = cv2.resize(astronaut.image, (width, height), interpolation=cv2.INTER_AREA)
    one = astronaut.evidence(image, astronaut.camera.resized(width, height))
    trust, remarks = detail_trust(
        astronaut.model, astronaut.posed, one.view.camera, image, astronaut.posed, one.normals,
        astronaut.parser, name="portrait.png", evidence=one,
    )  # fmt: skip
    assert trust.max() == 0
    assert remarks[0].code == "face-small"
    assert "small in portrait.png: one millimetre of skin is 0.4 pixels" in remarks[0].sentence


def test_a_fringe_and_a_thing_in_front_of_the_face_cover_it(astronaut):
    judged = JudgedPhotograph(astronaut.evidence(astronaut.image), astronaut.parser)
    above = judged.on_head(astronaut.model.mean[:, 1] > 0.035) & judged.front
    below = judged.on_head((astronaut.model.mean[:, 1] < -0.02) & astronaut.front) & judged.front
    assert np.median(judged.uncovered[above]) < 0.1  # her fringe
    assert np.median(judged.uncovered[below]) > 0.95
    nose, chin = astronaut.landmarks68[30], astronaut.landmarks68[8]
    image = cv2.line(astronaut.image.copy(), *(tuple(map(int, end)) for end in (nose + [-60, 40], chin + [60, -25])),
                     (40, 70, 60), 22)  # fmt: skip
    barred = JudgedPhotograph(astronaut.evidence(image), astronaut.parser)
    assert barred.shares()["covered"] > judged.shares()["covered"] + 0.1
    assert "face-covered" in [remark.code for remark in barred.remarks("portrait.png")]
