"""One reconstruction from photographs to a result folder: the steps, in their order."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend import licences
from backend.calibration import load_calibration
from backend.detection import DetectedFace
from backend.devices import choose_device, with_cpu_fallback
from backend.errors import UsageError
from backend.eye_state import read_eye_closure
from backend.face_models import load_face_model
from backend.fitting import FittedHead, Observation, fit
from backend.methods.method import ReconstructionMethod
from backend.options import (
    DEFAULT_FACE_MODEL,
    DEFAULT_METHOD,
    DETAILED_FACE_MODEL,
    METHODS,
    ReconstructOptions,
    ReconstructReport,
)
from backend.output_folder import output_folder
from backend.overlay import draw_overlay
from backend.photographs import Photograph, load_photograph
from backend.protocol import LIFEMASK_VERSION
from backend.rendering.camera import focal_from_35mm
from backend.result_folder import (
    ALBEDO_FILE,
    OVERLAY_FILE,
    Corrective,
    FaceModelCredit,
    HeadResult,
    PhotographResult,
    write_result,
)
from backend.view_checks import check_sides, check_together, find_faces

if TYPE_CHECKING:
    from backend.texture_evidence import Evidence

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with a stage's name and how much of the whole is done, 0 to 1."""

POOR_LANDMARK_ERROR = 0.06


def reconstruct(
    photographs: list[Path], output: Path, options: ReconstructOptions, progress: Progress | None = None
) -> ReconstructReport:
    """Makes a result folder from photographs of one person. Can be interrupted at any time; nothing half-made stays.

    Args:
        photographs: files, at least one.
        output: the folder to make.
        options: as asked for.
        progress: told of every stage as it starts.

    Raises:
        PhotoError: a photograph cannot be used.
        UsageError: a file is missing, the output cannot be written, the method's weights cannot be used, or the head is
            to be sold and a licence forbids it.
    """

    def on_device(device: str, notes: list[str]) -> ReconstructReport:
        return _reconstruct(photographs, output, options, device, notes, progress or (lambda stage, share: None))

    return with_cpu_fallback(choose_device(options.device), on_device)


def _reconstruct(
    photographs: list[Path],
    output: Path,
    options: ReconstructOptions,
    device: str,
    notes: list[str],
    progress: Progress,
) -> ReconstructReport:
    stages = _Stages(progress)
    method = method_named(options.method, device)
    learnt = [*(method.weights.values() if method else ())]
    learnt += licences.WEIGHTS_OF_DETAIL if wants_detail(options) else ()
    credits = licences.of_head(options.face_model, dict.fromkeys(learnt))
    licences.check_sale(credits, options.for_sale)
    with output_folder(output, options.overwrite) as folder:
        with stages.stage("reading the photographs", 0.0):
            pictures = [load_photograph(path) for path in photographs]
        with stages.stage("finding the face", 0.1):
            faces = find_faces(pictures, options.faces)
        with stages.stage("looking at the face", 0.25):
            remarks = check_sides(pictures, faces) if method and method.sees_views_together else []
            observations = observe(pictures, faces, options.focal_length_mm, method)
        with stages.stage("fitting the head", 0.3):
            model = load_face_model(options.face_model)
            head = fit(model, load_calibration(), observations)
            remarks += check_together(pictures, faces, observations)
        with stages.stage("making the texture", 0.45):
            evidence = look_at_skin(head, pictures) if options.texture or wants_detail(options) else []
            albedo = make_albedo(head, pictures, options, evidence)
        detail = None
        if wants_detail(options):
            from backend.skin_detail import make_detail

            with stages.stage("making the skin detail", 0.75):
                detail = make_detail(head, pictures, evidence, options.detail_size, device)
        with stages.stage("writing the result", 0.85):
            write_picture(folder / ALBEDO_FILE, albedo)
            overlay = draw_overlay(head, pictures[0].image, albedo, device)
            write_picture(folder / OVERLAY_FILE, overlay)
            names = [_store_photograph(picture, folder, i + 1) for i, picture in enumerate(pictures)]
            warnings = notes + [w for picture in pictures for w in picture.warnings]
            warnings += fit_warnings(head, pictures) + [remark.sentence for remark in remarks]
            warnings += (detail.warnings if detail else []) + licences.warnings(credits)
            result = head_result(head, names, faces, dict(stages.timings), warnings, method, credits)
            if detail is not None:
                weights = {**result.weights, **detail.weights}
                result = replace(result, displacement=detail.write(folder), weights=weights)
            write_result(folder, result)
        if options.formats:
            from backend.blender_files import export

            with stages.stage("making the Blender files", 0.9):
                warnings += export(
                    folder,
                    options.formats,
                    export_options=options.export_options,
                    blender=options.blender,
                    portrait=options.portrait,
                )
    error = max(photograph.landmark_error for photograph in head.photographs)
    return ReconstructReport(output, stages.timings, warnings, error, device)


def fit_photographs(
    images: list[np.ndarray],
    focal_35mm: list[float | None],
    method: str = DEFAULT_METHOD,
    device: str = "cpu",
    face_model: str = DEFAULT_FACE_MODEL,
) -> FittedHead:
    """Fits one head to pictures in memory.

    Args:
        images: (H, W, 3) uint8 sRGB, upright, of one person.
        focal_35mm: 35 mm equivalent of each in millimetres, None where unknown.
        method: one of `backend.options.METHODS`.
        device: torch device of the method's network.
        face_model: name of the face model.

    Raises:
        PhotoError: a picture shows no face, or none a side of it that the method can look at.
        UsageError: no such method, or its weights cannot be used.
    """
    pictures = [
        Photograph(Path(f"picture {i + 1}"), image, focal, [])
        for i, (image, focal) in enumerate(zip(images, focal_35mm, strict=True))
    ]
    faces = find_faces(pictures, ())
    observations = observe(pictures, faces, None, method_named(method, device))
    return fit(load_face_model(face_model), load_calibration(), observations)


@lru_cache(maxsize=len(METHODS))
def method_named(name: str, device: str = "cpu") -> ReconstructionMethod | None:
    """A paper's method with its weights, or None for "fit", which has none.

    Raises:
        UsageError: no such method, or its weights are missing, damaged or of something else.
    """
    if name not in METHODS:
        raise UsageError("no-such-method", f"There is no method {name}. There are: {', '.join(METHODS)}.")
    if name == "fit":
        return None
    if name == "spectral":
        from backend.methods.spectral import Spectral

        return Spectral.load(device=device)
    if name == "deep-fusion":
        from backend.methods.deep_fusion import DeepFusion

        return DeepFusion.load(device=device)
    from backend.methods.eye_motion import EyeMotion

    return EyeMotion.load(device=device)


def observe(
    pictures: list[Photograph],
    faces: list[DetectedFace],
    focal_length_mm: float | None,
    method: ReconstructionMethod | None = None,
) -> list[Observation]:
    """What is known of each picture before the fit: from its landmarks and, with a method, from its network."""
    codes_of_all = method.codes_of([picture.image for picture in pictures], faces) if method else [None] * len(faces)
    observations = []
    for picture, face, codes in zip(pictures, faces, codes_of_all, strict=True):
        height, width = picture.image.shape[:2]
        focal_mm = focal_length_mm or picture.focal_35mm
        focal = focal_from_35mm(focal_mm, width, height) if focal_mm else None
        if codes is None:
            closure = read_eye_closure(picture.image, face)
            observations.append(Observation(face.points, width, height, focal, closure))
            continue
        closure = codes.closure or read_eye_closure(picture.image, face)
        observations.append(Observation(codes.points, width, height, focal, closure, codes.measurement))
    return observations


def wants_detail(options: ReconstructOptions) -> bool:
    """Whether displacement maps are made: they are asked for, and can be made of this face model."""
    return options.detail and options.face_model == DETAILED_FACE_MODEL


def look_at_skin(head: FittedHead, pictures: list[Photograph]) -> list[Evidence]:
    """What each photograph shows of the fitted head's skin."""
    from backend.texture_evidence import Evidence, HeadRegions, TextureView

    regions = HeadRegions.of(head.model)
    return [
        Evidence(head.model, regions, TextureView(photograph.posed, photograph.camera, picture.image))
        for photograph, picture in zip(head.photographs, pictures, strict=True)
    ]


def make_albedo(
    head: FittedHead, pictures: list[Photograph], options: ReconstructOptions, evidence: Sequence[Evidence] = ()
) -> np.ndarray:
    """The texture of a fitted head: (S, S, 3) uint8 sRGB, from the photographs or the face model's plain skin.

    `evidence` is `look_at_skin` of the same photographs, where that was made before.
    """
    from backend.texture import build_albedo

    views = (evidence or look_at_skin(head, pictures)) if options.texture else []
    return build_albedo(head.model, views, options.texture_size)


def head_result(
    head: FittedHead,
    files: list[str],
    faces: list[DetectedFace],
    timings: dict[str, float],
    warnings: list[str],
    method: ReconstructionMethod | None = None,
    credits: tuple[licences.Credit, ...] = (),
) -> HeadResult:
    """The fitted head as the result folder's contract has it."""
    model, topology = head.model, head.model.topology
    licence = model.licence
    return HeadResult(
        vertices=head.neutral,
        faces=topology.faces,
        uv=topology.uv,
        face_uv=topology.face_uv,
        part_names=topology.part_names,
        part_faces=topology.part_faces,
        key_names=head.keys.names,
        key_index=head.keys.index,
        key_offset=head.keys.offset,
        key_weights=np.stack([photograph.key_weights for photograph in head.photographs]),
        landmarks68=model.landmarks68(head.neutral).astype(np.float32),
        face_model=FaceModelCredit(model.name, licence.name, licence.sentence, licence.commercial),
        licences=credits,
        photographs=tuple(
            PhotographResult(file, photograph.camera, face.detector, photograph.landmark_error, photograph.closure)
            for file, photograph, face in zip(files, head.photographs, faces, strict=True)
        ),
        correctives={
            name: Corrective(name.removesuffix("Corrective")) for name in head.keys.names if name.endswith("Corrective")
        },
        software={
            "lifemask": LIFEMASK_VERSION,
            "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "torch", "mediapipe")},
            "method": "fit" if method is None else method.name,
        },
        weights={"mediapipe_calibration": load_calibration().detector, **(method.weights if method else {})},
        timings=timings,
        warnings=warnings,
    )


def fit_warnings(head: FittedHead, pictures: list[Photograph]) -> list[str]:
    """Sentences on what a person should not rely on."""
    warnings = []
    for photograph, picture in zip(head.photographs, pictures, strict=True):
        if photograph.landmark_error > POOR_LANDMARK_ERROR:
            warnings.append(
                f"The head fits {picture.path.name} only roughly ({100 * photograph.landmark_error:.0f} % of the eyes' "
                "distance). A sharper or more frontal photograph should do better."
            )
        if abs(photograph.view.yaw) > 50:
            warnings.append(f"{picture.path.name} shows the face from far aside; the other half is a guess.")
    return warnings


def _store_photograph(picture: Photograph, folder: Path, number: int) -> str:
    """Keeps the upright photograph in the folder; returns the file's name."""
    name = f"photo_{number}.jpg"
    write_picture(folder / name, picture.image)
    return name


def write_picture(path: Path, image: np.ndarray) -> None:
    """Writes a PNG or JPEG file, by the suffix. (`cv2.imwrite` says nothing of a full disk and leaves half a file.)

    Args:
        path: of the file.
        image: (H, W, 3) uint8 sRGB.

    Raises OSError.
    """
    how = [cv2.IMWRITE_PNG_COMPRESSION, 2, cv2.IMWRITE_JPEG_QUALITY, 95]
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1], how)[1].tobytes())


@dataclass
class _Stages:
    """Times the stages and tells of them."""

    progress: Progress
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, share: float) -> Iterator[None]:
        self.progress(name, share)
        start = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - start, 3)
        logger.info("%s took %.2f s", name, self.timings[name])
