"""What a training of the spectral method begins with: checks, networks that were trained before, regions of a face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.aligned_crop import align
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.differentiable import DifferentiableModel
from backend.face_models.flame import FLAME_2020
from backend.face_models.linearised import names_a_file
from backend.face_models.morphable_model import MorphableModel
from backend.identity_crop import FACE_SIZE, five_of_68, similarity
from backend.methods.spectral_network import SpectralNetwork, SpectralSplit, fitted_camera
from backend.networks.mesh_autoencoder import MeshAutoencoder
from backend.weights import load_weights
from training.data.mica_layout import IDENTITY
from training.data.pictures import shown_model
from training.losses.vertices import WEIGHTINGS, vertex_weights
from training.methods.mesh_autoencoder import trained_autoencoder

if TYPE_CHECKING:
    from training.methods.spectral import SpectralSettings

NEED_TRUTH = ("vertices", "structure")
"""Losses that only pictures of people whose head is known can teach."""
PIXELS_PER_METRE = 1000.0
"""Of the mean face's picture from which the first camera is taken; any number would do."""


def identity_is_known(model: DifferentiableModel, shown: str) -> bool:
    """Whether pictures of people of the face model named `shown` say what `model` codes of their identity."""
    return model.name == shown and load_face_model(shown).identity_size == model.identity_size


def model_of_pictures(settings: SpectralSettings) -> str:
    """The face model whose people the pictures show. UsageError where they would be of several, or scans of another."""
    data, face_model = settings.data, settings.face_model
    if data.scans is None:
        return shown_model(face_model, data.shards)
    size = load_face_model(FLAME_2020).identity_size if face_model == FLAME_2020 else 0
    if size != IDENTITY:
        what = f"a {FLAME_2020} with {size}" if size else face_model
        raise UsageError(
            "scans-of-another-model",
            f"Heads in MICA's layout are {IDENTITY} shape coefficients of FLAME 2020, and face_model is {what}. Add "
            f"FLAME (python3 -m backend assets add generic_model.pkl) and set face_model={FLAME_2020}, or leave "
            "data.scans out.",
        )
    if data.shards is not None and (shown := shown_model(face_model, data.shards)) != face_model:
        raise UsageError(
            "shards-of-another-model",
            f"The shards show people of {shown}, the scans people of {face_model}. Make shards of it (python3 -m "
            f"training synthesise --face-model {face_model}), or leave data.shards out.",
        )
    return face_model


def check_truth_is_not_needed(settings: SpectralSettings, shown: str) -> None:
    """Refuses losses that compare heads where nobody's head is known. Raises UsageError."""
    wanted = [name for name in NEED_TRUTH if settings.losses.weight(name) > 0]
    if wanted:
        raise UsageError(
            "truth-of-another-model",
            f"The losses {' and '.join(wanted)} compare with known heads of {settings.face_model}, and the pictures "
            f"show people of {shown}. Make pictures of it (python3 -m training synthesise --face-model NAME) and name "
            "them as data.shards, or set these weights to 0.",
        )


def check_people_are_seen_often(settings: SpectralSettings) -> None:
    """Refuses to swap identities where each person has one picture. Raises UsageError."""
    together, size = settings.data.pictures_per_person, settings.data.batch_size
    if settings.shape_consistency and min(together, size) < 2:
        raise UsageError(
            "one-picture-a-person",
            "Shape consistency swaps the identities of pictures of one person, and a batch holds one picture of each. "
            "Set data.pictures_per_person and data.batch_size to 2 or more, or shape_consistency=false.",
        )


def parameter_split(model: DifferentiableModel, albedo: int | None) -> SpectralSplit:
    """The outputs of a network for a face model; `albedo` as in the settings."""
    return SpectralSplit(
        identity=model.identity_size,
        pose=6 if model.joint_names else 3,
        expression=model.expression_size,
        albedo=model.albedo_size if albedo is None else albedo,
    )


def first_camera(model: DifferentiableModel, encoders: str) -> tuple[float, float, float]:
    """Scale and shift that bring the mean head where faces lie in the picture that is compared."""
    with torch.no_grad():
        nothing = torch.zeros(1, model.identity_size), torch.zeros(1, model.expression_size)
        points = model.points("landmarks68", *nothing)[0].double()
    pixels = points[:, :2] * torch.tensor([PIXELS_PER_METRE, -PIXELS_PER_METRE])
    if encoders == "one":
        factor, shift = similarity(five_of_68(pixels[None]))
        placed = (torch.view_as_complex(pixels) - shift) / factor
        wanted = torch.view_as_real(placed) * (2 / FACE_SIZE) - 1
    else:
        wanted = torch.from_numpy(align(pixels.numpy(), 224).points_in(pixels.numpy())) * (2 / 224) - 1
    return fitted_camera(points, wanted)


def load_second(network: SpectralNetwork, weights: str) -> None:
    """Gives the second encoder the ResNet of trained weights of Eye Motion, but for its last layer. UsageError."""
    read = load_weights(weights, "eye-motion")
    start = "backbone."
    state = {name.removeprefix(start): value for name, value in read.state.items() if name.startswith(start)}
    width, found = network.second.conv1.out_channels, read.facts["network"]["width"]
    if width != found:
        raise UsageError(
            "weights-do-not-fit",
            f"The ResNet of {weights} has width {found}, the second encoder {width}. Set "
            f"network.second_width={found}, or network.second_weights=null to begin from random weights.",
        )
    network.second.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")}, False)


def load_autoencoder(settings: SpectralSettings) -> tuple[MeshAutoencoder, np.ndarray]:
    """The frozen network of the 3D-ID loss and the vertices that it sees. UsageError where there is none."""
    weights, face_model = settings.network.autoencoder, settings.face_model
    advice = (
        f"Train one (python3 -m training fit mesh-autoencoder face_model={face_model}, then export) and set "
        "network.autoencoder to its file, or losses.structure=0."
    )
    if weights is None:
        raise UsageError("no-autoencoder", f"The 3D-ID loss needs a mesh autoencoder of {face_model}. {advice}")
    try:
        return trained_autoencoder(weights, face_model)
    except UsageError as error:
        if error.code not in ("weights-of-another-face-model", "no-weights"):
            raise
        wrong = "is of another face model than" if error.code != "no-weights" else "is missing; it should be of"
        raise UsageError("no-autoencoder", f"The mesh autoencoder {weights} {wrong} {face_model}. {advice}") from error


def region_weights(settings: SpectralSettings, model: DifferentiableModel) -> Tensor:
    """(V,) float32 weights of the vertex loss. UsageError where the face model does not say what they ask for."""
    chosen = settings.three_d
    regions = face_regions(settings.face_model, model)
    missing = [name for name in WEIGHTINGS[chosen.regions] if name not in regions]
    if missing:
        raise UsageError(
            "regions-unknown",
            f"{settings.face_model} does not say where {' and '.join(missing)} are. Add the model first (python3 -m "
            "backend assets add FILE) and name it, or set three_d.regions=even.",
        )
    weights = vertex_weights(len(model.vertex_skin), regions, chosen.regions)
    return weights / weights.mean() if chosen.mean_weight_is_one else weights


def face_regions(face_model: str, model: DifferentiableModel) -> dict[str, np.ndarray]:
    """Region to (V,) bool as `vertex_weights` names them, as far as the face model says; files say next to nothing."""
    if names_a_file(face_model):
        return {"face": model.vertex_skin.numpy()}
    return regions_of(load_face_model(face_model))


def regions_of(model: MorphableModel) -> dict[str, np.ndarray]:
    """Region to (V,) bool of a model that has been prepared."""
    masks, none = model.masks, np.zeros(len(model.mean), bool)
    parts = {
        "face": ("face",),
        "eyes": ("lids", "eye_left", "eye_right"),
        "nose": ("nose",),
        "forehead": ("forehead",),
        "mouth": ("lips",),
        "eyeballs": ("part_eyeball_left", "part_eyeball_right"),
        "ears": ("ears",),
    }
    regions = {region: np.any([masks.get(name, none) for name in names], axis=0) for region, names in parts.items()}
    return {region: mask for region, mask in regions.items() if mask.any() or region == "eyeballs"}
