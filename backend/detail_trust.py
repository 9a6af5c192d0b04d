"""How far a photograph's skin detail can be trusted, at points of the head's surface, and what to say where it cannot.

Detail read from glasses, a fringe, burnt out skin or the squares of a strong compression would be carved into the head
as if it were wrinkles. `backend.texture_evidence` knows what is hidden or seen from the side; here come what a face
parser tells, which colours are those of the person's skin in light and shadow, how well the photograph is exposed, and
how fine its detail really is.

The limits were chosen on Lisa's photographs, portraits in the public domain and 16 faces of `photos/training_ccby`, 29
in all, as they are and with glasses, hands, cups, masks and microphones drawn over them, enlarged, blurred, shaken,
compressed and lit by a flash. `photos/london`, which figures are measured on, had no part in it. Of 60 other faces of
`photos/training_ccby` none is remarked upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch

from backend.aligned_crop import align
from backend.face_models.morphable_model import MorphableModel
from backend.face_parsing import BACKGROUND, PARSING_CLASSES, FaceParser, read_face_parser
from backend.rendering.camera import Camera
from backend.texture_evidence import FACING, GAMMA, Evidence, HeadRegions, TextureView, remapped, smoothstep

PIXELS_PER_MM = (0.4, 0.8)
"""From no trust to full trust, over the logarithm. Folds of smiles and brows are 3 mm wide and more: they keep 65 % of
their contrast at 0.4, 89 % at 0.8; finer lines are blurred in such a photograph, and a blurred line makes a faint
one."""
FINEST_PIXELS_PER_MM = 4.0
"""Finer photographs are looked at in this size."""
SHARP_BLUR = 1.3
"""Pixels, see `_blur`. Photographs as they come have 1.0 to 1.7; blurred by 2 pixels 2.5 to 2.9, shaken by 15 pixels
1.9 to 3.3, enlarged four times 2.2 to 2.5, eight times 3.4 to 4.2."""
STRONG_GRADIENT = 0.97
"""Quantile of the gradients in the face from which on they count as edges."""
LEAST_EDGES = 30
SQUARES = (2.0, 4.0)
"""From full trust to none, by how much larger steps between blocks of 8 pixels are than other steps in the skin.
Photographs as they come have at most 1.6; JPEG of quality 50 has 1.8 to 2.3, 30 has 2.1 to 2.9, 15 has 2.7 to 5.2, 8
has 4.1 to 10."""
BACKGROUND_SHARE = (0.15, 0.40)
"""From full trust to none, by the parser's probability of what is not the face. In bare faces 95 of 100 pixels are
below 0.16; behind hands, cups and frames of glasses half are above 0.2 to 0.8."""
BROW_SHARE = (0.15, 0.5)
"""The same, by that of brows: hair is no relief of the skin."""
FEATURE_SEEN = (0.25, 0.55)
"""From no trust to full trust around eyes, nose and mouth, by how far the parser finds them where the head has them,
against `USUAL_SHARE`. A hand of the colour of the face may pass for skin, but it hides an eye."""
USUAL_SHARE = {"eyes": 0.55, "nose": 0.80, "lips": 0.85}
"""The parser's probability of them where the head has them, in bare faces: least 0.32, 0.74 and 0.72. Behind hands at
most 0.14 of an eye, behind cups 0.24 and behind masks 0.34 of the lips."""
LIPS_HIDDEN, UPPER_FACE_BARE = 0.45, 0.3
"""With so little of the lips found, and so little of the skin above the eyes of the cheeks' colour, a mask covers the
cheeks, and the colour is the mask's: nothing is trusted. Of lips at most 0.34 are found behind masks, at least 0.72
where they are bare."""
FEATURE_REACH_MM = 16.0
"""How far a hidden feature is taken for a sign: standard deviation of the window."""
TINT = (1.7, 3.0)
"""From full trust to none, by how far a colour's ratios of red to green and green to blue are from the cheeks', in
deviations of those. Light and shadow leave them as they are: so the dark of a fold is skin, and a frame is not. With
these limits the front of 13 bare faces keeps 0.77 of its trust (0.65 at least) and the frames of 39 glasses 0.045;
with (2.5, 4.5) 0.80 and 0.096, with (1.5, 2.5) 0.74 and 0.031."""
TINT_FLOOR, DARKEST_LIGHT = 0.08, 0.02
"""What is added to the deviation of the logarithm of such a ratio, and, as a share of white, to colours: dark ones are
noisy."""
SHADE = (-2.0, -1.3)
"""From no trust to full trust, by the logarithm of linear light against that of the cheeks."""
SHINE = (0.9, 1.4)
"""The same, from full trust to none."""
SPECK_MM = 3.0
"""What is of another colour and smaller than this is a mole or noise. Frames are longer."""
LIP_SHARE = (0.3, 0.6)
"""Skin, whatever their colour, by the parser's probability of lips."""
BURNT, BURNT_SHARE = 250, (0.1, 0.4)
"""Level of a channel that says nothing any more, and from full trust to none by the share of such pixels nearby. Of
bare skin in daylight at most 0.7 % reach it."""
BLACK = (12.0, 36.0)
"""Level of the brightest channel, from no trust to full trust: below, noise and compression are as strong as skin."""
AROUND_MM = 2.0
"""What `BURNT_SHARE` is counted in: standard deviation."""
MARGIN_MM, FEATHER_MM = 2.5, 1.2
"""Trust keeps this far from what is not trusted, and fades as a Gaussian of this deviation: to 2 % at its border."""
FRONT_TOP_M = 0.045
"""Height over the eyes, on the mean head, up to which a fringe counts as covering the face."""
COVERED_SHARE, BURNT_FACE_SHARE, DARK_FACE_SHARE = 0.12, 0.06, 0.25
"""Shares of the visible front of the face from which on a remark is due."""
FEW_PIXELS_PER_MM = 0.56
"""Below, trust is less than half."""
BLURRED, FEW_FINE_PIXELS_PER_MM = 1.5, 2.0
"""A remark is due if the blur is so many times `SHARP_BLUR` and `JudgedPhotograph.fine_pixels_per_mm` is below this. Of
29 photographs as they come the most blurred has 1.3."""
COMPRESSED = 3.0
"""Of `SQUARES`, half of the trust."""
FEATURES = {"eyes": ("left_eye", "right_eye"), "nose": ("nose",), "lips": ("mouth", "upper_lip", "lower_lip")}


@dataclass(frozen=True)
class DetailRemark:
    """Why a photograph gives little skin detail, and what to do.

    Attributes:
        code: "face-small", "face-blurred", "face-compressed", "face-covered", "face-burnt" or "face-dark", for
            programs.
        sentence: for a person.
    """

    code: str
    sentence: str


def detail_trust(
    model: MorphableModel,
    posed: np.ndarray,
    camera: Camera,
    image: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    parser: FaceParser | None = None,
    *,
    name: str = "the photograph",
    evidence: Evidence | None = None,
) -> tuple[np.ndarray, list[DetailRemark]]:
    """How far a photograph shows the relief of the skin at surface points.

    Args:
        model: the face model.
        posed: (V, 3) float metres, the head with the expression of the photograph.
        camera: of the photograph, from the axes of `posed`.
        image: (H, W, 3) uint8 sRGB.
        points: (N, 3) float metres, on the posed head.
        normals: (N, 3) float, not necessarily unit; zero where there is no point.
        parser: tells parts of faces; None is the one that ships.
        name: of the photograph, in sentences.
        evidence: of the same photograph, if it was made before.

    Returns:
        (N,) float32 in [0, 1], smooth over the surface: 0 where the skin is hidden, seen from the side, covered, burnt
        out, black, or shown too small or too blurred. And what is to be said: each code once at most.
    """
    if evidence is None:
        evidence = Evidence(model, HeadRegions.of(model), TextureView(posed, camera, image))
    judged = JudgedPhotograph(evidence, parser or _shipped_parser())
    return judged.trust(points, normals), judged.remarks(name)


@lru_cache(maxsize=1)
def _shipped_parser() -> FaceParser:
    return read_face_parser()


class JudgedPhotograph:
    """What keeps the detail of one photograph from being trusted, over the pixels of `Evidence.image`.

    Args:
        evidence: of the photograph.
        parser: tells parts of faces.

    Attributes:
        uncovered: (H, W) float32 in [0, 1], bare skin, neither hair nor anything in front of the face.
        exposed: (H, W) float32 in [0, 1], neither burnt out nor black.
        pixels_per_mm: of the photograph, at the head.
        blur: see `_blur`; pixels of the photograph, or of 1 / `FINEST_PIXELS_PER_MM` mm if those are larger.
        squares: see `_squares`.
    """

    def __init__(self, evidence: Evidence, parser: FaceParser) -> None:
        self.evidence = evidence
        self.pixel_mm = 1000 * evidence.metres_per_pixel
        self.front = self._front()
        shares = self._parsed(parser)
        skin = self._skin_coloured()
        self._face = self._uncovered(shares, skin)
        lips = smoothstep(*LIP_SHARE, shares[..., _classes("upper_lip", "lower_lip")].sum(axis=2))
        hair = smoothstep(*BROW_SHARE, shares[..., _classes("left_brow", "right_brow")].sum(axis=2))
        self.uncovered = (self._face * np.maximum(skin, lips) * (1 - hair)).astype(np.float32)
        if evidence.usable is not None:
            self.uncovered *= evidence.usable
        self._burnt, self._dark = self._exposure()
        self.exposed = self._burnt * self._dark
        self._measure_fineness()

    # Pixels -----------------------------------------------------------------------------------------------------------

    def _front(self) -> np.ndarray:
        """(H, W) bool: where the head, if nothing is in front of it, shows the face's skin."""
        one, model = self.evidence, self.evidence.model
        mean = model.mean
        named = [model.masks[part] for part in ("face", "forehead", "cheeks") if part in model.masks]
        chosen = np.logical_or.reduce(named) if named else np.maximum(one.regions.seed, one.regions.kept) > 0.3
        chosen = chosen & (mean[:, 1] < FRONT_TOP_M) & (one.regions.lips < 0.5)
        return self.on_head(chosen) & (one.borders > 0.9)

    def on_head(self, chosen: np.ndarray) -> np.ndarray:
        """(V,) bool vertices of the skin to (H, W) bool pixels."""
        one = self.evidence
        result = np.zeros(one.covered.shape, bool)
        result[one.on_skin] = one.at_pixels(chosen.astype(np.float32), one.on_skin) > 0.5
        return result

    def _parsed(self, parser: FaceParser) -> np.ndarray:
        """(H, W, 10) float32, the parser's probabilities; where it did not look, background."""
        one, model = self.evidence, self.evidence.model
        crop = align(one.view.camera.project(model.landmarks68(one.vertices)), parser.form.size)
        picture = torch.from_numpy(crop.image(one.view.image)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            shares = parser(picture)[0].softmax(dim=0).permute(1, 2, 0).numpy()
        # From pixels of `evidence.image` to those of the crop, whose centres OpenCV counts from 0.
        corner = [getattr(one.view.camera, axis) - getattr(one.crop_camera, axis) for axis in ("cx", "cy")]
        step = np.array([one.crop_camera.width / one.camera.width, one.crop_camera.height / one.camera.height])
        offset = crop.points_in(np.array(corner) + 0.5 * step) - 0.5
        matrix = np.column_stack([np.diag(crop.scale * step), offset])
        shares = np.ascontiguousarray(shares)
        size = one.camera.width, one.camera.height
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        found = [cv2.warpAffine(part, matrix, size, flags=flags) for part in np.split(shares, (4, 8), axis=2)]
        found = np.concatenate(found, axis=2)
        found[..., BACKGROUND] += 1 - found.sum(axis=2)
        return found

    def _skin_coloured(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: of the colour of the cheeks, as it is in light or in shadow."""
        one = self.evidence
        if one.seed_pixels.sum() < 20:
            return np.zeros(one.covered.shape, np.float32)
        encoded = cv2.GaussianBlur(one.image.astype(np.float32) / 255, (0, 0), 0.8)
        light = GAMMA * np.log(encoded + DARKEST_LIGHT)
        tint = light[..., :2] - light[..., 1:]
        seed = tint[one.seed_pixels]
        centre = np.median(seed, axis=0)
        spread = 1.48 * np.median(np.abs(seed - centre), axis=0) + TINT_FLOOR
        apart = np.sqrt((((tint - centre) / spread) ** 2).sum(axis=2))
        level = light.mean(axis=2)
        level -= np.median(level[one.seed_pixels])
        coloured = (1 - smoothstep(*TINT, apart)) * smoothstep(*SHADE, level) * (1 - smoothstep(*SHINE, level))
        count, label, facts, _ = cv2.connectedComponentsWithStats((coloured < 0.9).astype(np.uint8), connectivity=8)
        specks = facts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) < SPECK_MM / self.pixel_mm
        specks[0] = False
        return np.where(specks[label], 1.0, coloured).astype(np.float32)

    def _uncovered(self, shares: np.ndarray, skin: np.ndarray) -> np.ndarray:
        """(H, W) float32 in [0, 1]: the face, brows included, as far as the parser knows and its parts can be seen."""
        one = self.evidence
        face = 1 - smoothstep(*BACKGROUND_SHARE, shares[..., BACKGROUND])
        lips = self.on_head(one.regions.lips > 0.5)
        found = shares[..., _classes(*FEATURES["lips"])].sum(axis=2)[lips].mean() if lips.any() else 1.0
        upper = self.on_head(one.model.mean[:, 1] > 0) & self.front & (face > 0.9)
        if found < LIPS_HIDDEN and upper.any() and skin[upper].mean() < UPPER_FACE_BARE:
            return np.zeros_like(face)
        return (face * self._features_seen(shares)).astype(np.float32)

    def _features_seen(self, shares: np.ndarray) -> np.ndarray:
        """(H, W) float32: 0 around an eye, a nose or a mouth that the head has and the parser does not find."""
        one, model = self.evidence, self.evidence.model
        eyeballs = np.zeros(len(model.topology.faces), bool)
        for part in model.topology.part_names:
            if part.startswith("eyeball"):
                eyeballs[model.topology.part(part)] = True
        nose = model.masks.get("nose", np.zeros(len(model.mean), bool))
        places = {
            "eyes": one.covered & eyeballs[model.topology.triangle_face[one.triangle]],
            "nose": self.on_head(nose),
            "lips": self.on_head(one.regions.lips > 0.5),
        }
        seen = np.ones(one.covered.shape, np.float32)
        small = max(1, int(FEATURE_REACH_MM / 4 / self.pixel_mm))
        size = tuple(-(-length // small) for length in one.covered.shape[::-1])
        sigma = FEATURE_REACH_MM / self.pixel_mm / small
        for feature, place in places.items():
            share = shares[..., _classes(*FEATURES[feature])].sum(axis=2) / USUAL_SHARE[feature]
            both = np.stack([place, place * np.minimum(share, 1.0)], axis=2).astype(np.float32)
            both = cv2.GaussianBlur(cv2.resize(both, size, interpolation=cv2.INTER_AREA), (0, 0), sigma)
            # Far from the feature, or where little of it shows, nothing is said.
            little = 0.05 * float(both[..., 0].max()) + 1e-3
            found = (both[..., 1] + little) / (both[..., 0] + little)
            found = smoothstep(*FEATURE_SEEN, found).astype(np.float32)
            seen = np.minimum(seen, cv2.resize(found, seen.shape[::-1], interpolation=cv2.INTER_LINEAR))
        return seen

    def _exposure(self) -> tuple[np.ndarray, np.ndarray]:
        """Two (H, W) float32 in [0, 1]: not burnt out, not black."""
        brightest = self.evidence.image.max(axis=2)
        around = max(AROUND_MM / self.pixel_mm, 0.5)
        share = cv2.GaussianBlur((brightest >= BURNT).astype(np.float32), (0, 0), around)
        level = cv2.GaussianBlur(brightest.astype(np.float32), (0, 0), around)
        return 1 - smoothstep(*BURNT_SHARE, share), smoothstep(*BLACK, level)

    # The photograph as a whole ----------------------------------------------------------------------------------------

    def _measure_fineness(self) -> None:
        one = self.evidence
        step = one.crop_camera.width / one.camera.width
        self.pixels_per_mm = step / self.pixel_mm
        self.blur, self.squares = 0.0, 1.0
        rows, columns = (np.flatnonzero(self.front.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return
        top, bottom, left, right = (round(edge * step) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
        grey = cv2.cvtColor(one.crop[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
        # Edges are sought in all of the face, eyes, brows and lips included, but not in what is in front of it.
        inside = np.zeros(self.front.shape, np.uint8)
        outline = cv2.convexHull(np.argwhere(self.front)[:, ::-1].astype(np.int32))
        cv2.fillConvexPoly(inside, outline, 1)
        inside[self._face < 0.5] = 0
        inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = cv2.resize(inside, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        self.squares = _squares(grey, inside)
        finer = self.pixels_per_mm / FINEST_PIXELS_PER_MM
        if finer > 1:
            grey = cv2.resize(grey, None, fx=1 / finer, fy=1 / finer, interpolation=cv2.INTER_AREA)
            inside = cv2.resize(inside.astype(np.uint8), grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        self.blur = _blur(grey.astype(np.float32), inside)

    @property
    def fine_pixels_per_mm(self) -> float:
        """How many pixels a millimetre would have in a sharp photograph of as fine detail."""
        return min(self.pixels_per_mm, FINEST_PIXELS_PER_MM) * min(1.0, SHARP_BLUR / max(self.blur, 1e-6))

    # What is asked ----------------------------------------------------------------------------------------------------

    def trust(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """(N,) float32 in [0, 1], see `detail_trust`."""
        one = self.evidence
        sight = one.sight(points, normals)
        result = np.zeros(len(points), np.float32)
        chosen = np.flatnonzero(sight.visible)
        facing = sight.facing[chosen]
        # Skin seen from the side, or farther off, has fewer pixels.
        nearer = np.median(one.depth[one.covered]) / sight.depth[chosen] if len(chosen) else 1.0
        fine = np.log(np.maximum(self.fine_pixels_per_mm * nearer * facing, 1e-3))
        shown = remapped(self._pixels(), sight.column[chosen][None], sight.row[chosen][None])[0]
        whole = 1 - smoothstep(*SQUARES, self.squares)
        result[chosen] = shown * smoothstep(*np.log(PIXELS_PER_MM), fine) * smoothstep(*FACING, facing) * whole
        return result

    def _pixels(self) -> np.ndarray:
        """(H, W) float32: what does not depend on the surface, with soft borders."""
        trusted = (self.uncovered * self.exposed).astype(np.float32)
        # The photograph ends at the crop's edge, or the head does not reach it.
        trusted[[0, -1]], trusted[:, [0, -1]] = 0, 0
        reach = 2 * max(1, round(MARGIN_MM / self.pixel_mm)) + 1
        trusted = cv2.erode(trusted, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        trusted = cv2.GaussianBlur(trusted, (0, 0), max(FEATHER_MM / self.pixel_mm, 0.5))
        return trusted * self.evidence.borders.astype(np.float32)

    def shares(self) -> dict[str, float]:
        """Of the visible front of the face: "covered", "burnt" and "dark", each 0 to 1."""
        if not self.front.any():
            return {"covered": 1.0, "burnt": 0.0, "dark": 0.0}
        parts = {"covered": self._face, "burnt": self._burnt, "dark": self._dark}
        return {name: 1 - float(part[self.front].mean()) for name, part in parts.items()}

    def remarks(self, name: str) -> list[DetailRemark]:
        """What a person should know; each code once at most, none about a photograph that is fit for detail.

        Args:
            name: of the photograph.
        """
        found, shares = [], self.shares()
        if self.pixels_per_mm < FEW_PIXELS_PER_MM:
            found.append(
                DetailRemark(
                    "face-small",
                    f"The face is small in {name}: one millimetre of skin is {self.pixels_per_mm:.1f} pixels, and "
                    f"wrinkles need {PIXELS_PER_MM[1]}. Use a larger copy, or a photograph from nearer.",
                )
            )
        elif self.blur > BLURRED * SHARP_BLUR and self.fine_pixels_per_mm < FEW_FINE_PIXELS_PER_MM:
            found.append(
                DetailRemark(
                    "face-blurred",
                    f"The face is blurred in {name}, or was enlarged, and hardly shows wrinkles. Use the original, or "
                    "a sharper photograph.",
                )
            )
        if self.squares > COMPRESSED:
            found.append(
                DetailRemark(
                    "face-compressed",
                    f"The face was compressed so much in {name} that squares show in the skin. Use the original, or a "
                    "copy of better quality.",
                )
            )
        if shares["covered"] > COVERED_SHARE:
            found.append(
                DetailRemark(
                    "face-covered",
                    f"Something covers part of the face in {name}, such as hair, glasses or a hand; the skin under it "
                    "gets no detail of its own. Use a photograph that shows the whole face, if there is one.",
                )
            )
        if shares["burnt"] > BURNT_FACE_SHARE:
            found.append(
                DetailRemark(
                    "face-burnt",
                    f"Part of the face is burnt out in {name} and shows no wrinkles there. Use a photograph without "
                    "flash, or with a shorter exposure.",
                )
            )
        if shares["dark"] > DARK_FACE_SHARE:
            found.append(
                DetailRemark(
                    "face-dark",
                    f"Part of the face is nearly black in {name} and shows no wrinkles there. Use a photograph in more "
                    "light, or with a longer exposure.",
                )
            )
        return found


def _classes(*names: str) -> list[int]:
    return [PARSING_CLASSES.index(name) for name in names]


def _blur(grey: np.ndarray, inside: np.ndarray) -> float:
    """The blur of the edges in a picture, as the standard deviation of a Gaussian, in pixels.

    An edge of deviation s that is blurred by 1 more keeps s / sqrt(s^2 + 1) of its gradient (Zhuo and Sim, "Defocus map
    estimation from a single image", Pattern Recognition 2011, section 3); here of the energy of all strong gradients
    together, along each axis by itself, since a camera shakes along one. The more blurred axis counts.

    Args:
        grey: (H, W) float32.
        inside: (H, W) bool, where edges are sought.

    Returns:
        0 where there are too few edges to tell.
    """
    softer = cv2.GaussianBlur(grey, (0, 0), 1.0)
    found = []
    for axis in ((1, 0), (0, 1)):
        sharp, soft = (cv2.Scharr(picture, cv2.CV_32F, *axis) for picture in (grey, softer))
        size = np.abs(soft)
        strong = inside & (size >= np.quantile(size[inside], STRONG_GRADIENT)) if inside.any() else inside
        if strong.sum() < LEAST_EDGES:
            continue
        ratio = float((sharp[strong] ** 2).sum() / max((soft[strong] ** 2).sum(), 1e-6))
        found.append(1 / np.sqrt(max(ratio - 1, 1e-3)))
    return max(found, default=0.0)


def _squares(grey: np.ndarray, inside: np.ndarray) -> float:
    """How much larger the mean step between columns 8 pixels apart is than others: 1 without JPEG's blocks.

    Args:
        grey: (H, W) uint8.
        inside: (H, W) bool, what is looked at.
    """
    if not inside.any():
        return 1.0
    step = np.abs(np.diff(grey.astype(np.float32), axis=1)) * inside[:, 1:]
    columns, counts = step.sum(axis=0), inside[:, 1:].sum(axis=0)
    means = [columns[phase::8].sum() / max(counts[phase::8].sum(), 1) for phase in range(8)]
    return float(max(means) / max(np.median(means), 1e-3))
