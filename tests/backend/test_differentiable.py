"""Face models in torch agree with the numpy ones, and gradients reach their codes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.errors import UsageError
from backend.face_models import OpenHead, load_face_model
from backend.face_models.albedo import load_albedo_basis
from backend.face_models.bfm import read_bfm_front
from backend.face_models.differentiable import DifferentiableModel, differentiable_model
from backend.face_models.linear_shape import BlinkBasis, LinearShape
from backend.lids import aperture
from tests.face_model_files import write_bfm_front

SEEDS = st.integers(0, 2**32 - 1)
PEOPLE = 40
SEEN = ("outer_skin", "sclera", "iris")


@pytest.fixture(scope="module")
def exact() -> OpenHead:
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def head() -> DifferentiableModel:
    return differentiable_model("open_head")


@pytest.fixture(scope="module")
def bfm_path(tmp_path_factory) -> Path:
    return write_bfm_front(tmp_path_factory.mktemp("bfm") / "BFM_model_front.mat", seed=2)


def random_codes(model: DifferentiableModel, seed: int, count: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    identity = torch.randn(count, model.identity_size, generator=generator)
    return identity, torch.rand(count, model.expression_size, generator=generator) ** 3


def expression_of(model: DifferentiableModel, **weights: float) -> Tensor:
    result = torch.zeros(1, model.expression_size)
    for name, weight in weights.items():
        result[0, model.expression_names.index(name)] = weight
    return result


def exact_head(model: OpenHead, identity: Tensor, names: tuple[str, ...], expression: Tensor) -> np.ndarray:
    """The numpy model's head, keys driven as the documentation says."""
    neutral = model.neutral(identity.double().numpy())
    weights = dict(zip(names, expression.tolist(), strict=True))
    for side in ("Left", "Right"):
        blink = weights[f"eyeBlink{side}"]
        weights[f"eyeBlink{side}Corrective"] = 4 * blink * (1 - blink)
    return model.key_offsets(neutral).apply(neutral, weights)


def test_heads_are_within_hundredths_of_a_millimetre_of_the_exact_ones(exact, head):
    seen = np.any([exact.masks[name] for name in SEEN], axis=0)
    means, most = [], []
    for person in range(PEOPLE):
        identity, expression = random_codes(head, person)
        vertices = head.vertices(identity, expression)[0].numpy()
        wanted = exact_head(exact, identity[0], head.expression_names, expression[0])
        error_mm = 1000 * np.linalg.norm(vertices - wanted, axis=1)[seen]
        means.append(error_mm.mean())
        most.append(np.quantile(error_mm, 0.99))
    assert np.mean(means) < 0.04 and max(means) < 0.2
    assert np.mean(most) < 0.2 and max(most) < 0.6


def test_a_neutral_head_of_the_mean_person_is_exact(exact, head):
    vertices = head.vertices(torch.zeros(1, head.identity_size), torch.zeros(1, head.expression_size))
    np.testing.assert_array_equal(vertices[0], exact.neutral(np.zeros(exact.identity_size)))


def test_a_blink_of_one_shuts_the_eyes_of_everyone(exact, head):
    shut = expression_of(head, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    for person in range(PEOPLE):
        identity, _ = random_codes(head, person)
        vertices = head.vertices(identity, shut)[0].numpy()
        assert max(aperture(vertices, exact.rig, side) for side in ("left", "right")) < 0.005


def test_a_half_shut_lid_keeps_to_the_eyeball(exact, head):
    identity, _ = random_codes(head, 5)
    half = expression_of(head, eyeBlinkLeft=0.5)
    vertices = head.vertices(identity, half)[0].numpy()
    wanted = exact_head(exact, identity[0], head.expression_names, half[0])
    lids = exact.rig.left.lid_vertices
    assert np.linalg.norm(vertices - wanted, axis=1)[lids].max() < 2e-4


def test_all_arkit_keys_are_there_in_the_order_of_the_model_and_no_corrective(exact, head):
    assert head.expression_names == tuple(name for name in exact.key_names if "Corrective" not in name)
    assert head.expression_size == len(head.expression_names) == 52
    assert head.identity_size == 96
    assert head.expression_is_bounded


@pytest.mark.parametrize("name", ["landmarks68", "landmarks478", "lids"])
def test_points_alone_are_the_points_of_the_whole_head(head, name):
    identity, expression = random_codes(head, 1, 3)
    whole = head.points_of(name, head.vertices(identity, expression))
    torch.testing.assert_close(head.points(name, identity, expression), whole, atol=1e-6, rtol=0)


def test_landmarks_are_those_of_the_numpy_model(exact, head):
    vertices = head.vertices(*random_codes(head, 2, 2))
    np.testing.assert_allclose(head.landmarks68(vertices), exact.landmarks68(vertices.numpy()), atol=1e-6)
    np.testing.assert_allclose(head.landmarks478(vertices), exact.landmarks478(vertices.numpy()), atol=1e-6)


@settings(deadline=None)
@given(SEEDS)
def test_apertures_of_open_eyes_are_those_of_the_lids_module(exact, head, seed):
    identity, _ = random_codes(head, seed)
    vertices = head.vertices(0.5 * identity, expression_of(head, eyeBlinkLeft=0.4, eyeWideRight=0.7))
    found = head.lids(vertices[:, head.lids.vertices])[0]
    for column, side in enumerate(("left", "right")):
        assert float(found[column]) == pytest.approx(aperture(vertices[0].numpy(), exact.rig, side), abs=1e-5)


def test_apertures_of_crossed_lids_are_negative(head):
    vertices = head.vertices(torch.zeros(1, head.identity_size), expression_of(head, eyeBlinkLeft=1.0))
    left, right = head.lids(vertices[:, head.lids.vertices])[0].tolist()
    assert -0.05 < left <= 0.0
    assert right > 0.1


def test_going_down_the_gradient_of_an_aperture_shuts_that_eye_alone(head):
    identity = torch.zeros(1, head.identity_size)
    expression = expression_of(head, eyeBlinkLeft=0.3, eyeBlinkRight=0.3).requires_grad_()
    head.lids(head.points("lids", identity, expression))[0, 0].backward()
    slope = dict(zip(head.expression_names, expression.grad[0].tolist(), strict=True))
    assert slope["eyeBlinkLeft"] < -0.1
    assert abs(slope["eyeBlinkRight"]) < 1e-6


def small_shape(seed: int) -> LinearShape:
    generator = np.random.default_rng(seed)
    blink = BlinkBasis(1, np.array([0, 3]), generator.normal(size=(4, 2, 3)), generator.normal(size=(4, 2, 3)))
    expression = generator.normal(size=(2, 5, 3))
    expression[1] = 0
    return LinearShape(generator.normal(size=(5, 3)), generator.normal(size=(3, 5, 3)), expression, (blink,))


def shape_by_hand(shape: LinearShape, identity: Tensor, expression: Tensor) -> np.ndarray:
    """One vertex at a time, as in the definition."""
    basis = shape.basis.double().numpy().reshape(5, 5, 3)
    blink = shape._blinks[0]
    result = np.zeros((5, 3))
    for vertex in range(5):
        result[vertex] = shape.base.double().numpy().reshape(5, 3)[vertex]
        for row, code in enumerate([*identity.tolist(), *expression.tolist()]):
            result[vertex] += code * basis[row, vertex]
    weight = expression[blink.key].item()
    for place, vertex in enumerate(blink.index):
        for row, code in enumerate([1.0, *identity.tolist()]):
            result[vertex] += weight * code * blink.offset[row, place]
            result[vertex] += 4 * weight * (1 - weight) * code * blink.corrective[row, place]
    return result


@given(SEEDS)
def test_a_linear_shape_is_its_definition(seed):
    shape, generator = small_shape(seed % 1000), torch.Generator().manual_seed(seed)
    identity, expression = torch.randn(2, 3, generator=generator), torch.rand(2, 2, generator=generator)
    for row, points in enumerate(shape(identity, expression)):
        np.testing.assert_allclose(points, shape_by_hand(shape, identity[row], expression[row]), atol=1e-4)


@given(SEEDS)
def test_points_on_the_surface_of_a_shape_mix_its_vertices(seed):
    generator = np.random.default_rng(seed)
    corners, weights = generator.integers(0, 5, (7, 3)), generator.dirichlet(np.ones(3), 7)
    shape = small_shape(seed % 1000)
    identity = torch.from_numpy(generator.normal(size=(2, 3))).float()
    expression = torch.from_numpy(generator.uniform(size=(2, 2))).float()
    wanted = (shape(identity, expression)[:, corners] * torch.from_numpy(weights).float()[..., None]).sum(2)
    torch.testing.assert_close(shape.at(corners, weights)(identity, expression), wanted, atol=1e-4, rtol=1e-4)


@given(SEEDS)
def test_gradients_of_a_shape_are_its_slopes(seed):
    shape, generator = small_shape(seed % 1000), torch.Generator().manual_seed(seed)
    codes = torch.rand(1, 5, generator=generator, requires_grad=True)
    weights = torch.randn(5, 3, generator=generator)

    def value(codes: Tensor) -> Tensor:
        return (shape(codes[:, :3], codes[:, 3:])[0] * weights).sum()

    value(codes).backward()
    for column in range(5):
        step = torch.zeros(1, 5)
        step[0, column] = 0.25  # central differences of a quadratic are its slope, whatever the step
        slope = (value(codes.detach() + step) - value(codes.detach() - step)) / 0.5
        assert codes.grad[0, column].item() == pytest.approx(slope.item(), abs=2e-3)


def test_lengths_stay_in_single_precision_where_networks_do_not(head):
    identity, expression = random_codes(head, 4, 2)
    wanted = head.vertices(identity, expression)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vertices = head.vertices(identity.bfloat16(), expression)
        codes_in_bfloat = head.vertices(identity.bfloat16().float(), expression)
    assert vertices.dtype == torch.float32
    torch.testing.assert_close(vertices, codes_in_bfloat)
    assert (vertices - wanted).norm(dim=2).mean() < 2e-4


def test_a_model_adds_nothing_to_a_state_dict_and_moves_alone(head):
    assert not head.state_dict()
    other = differentiable_model("open_head").double()
    assert other.shape.base.dtype == torch.float64
    assert head.shape.base.dtype == torch.float32


def test_skin_leaves_out_eyes_mouth_and_the_back_of_the_head(exact, head):
    skin = head.vertex_skin.numpy()
    for name in ("part_eyeball_left", "part_teeth_upper", "part_lashes", "scalp", "neck", "eye_socket"):
        assert not (skin & exact.masks[name]).any()
    of_mouth = exact.topology.triangle_face >= exact.topology.part("mouth_inside").start
    assert not (head.face_skin.numpy() & of_mouth).any()
    assert skin[exact.points68.vertices[30]].all()
    assert (head.vertex_skin[head.faces[head.face_skin]]).all()


def test_albedo_is_linear_in_its_codes(head):
    codes = torch.randn(2, head.albedo_size, generator=torch.Generator().manual_seed(0))
    zero, first, second, both = head.albedo(torch.stack([codes[0] * 0, codes[0], codes[1], codes.sum(0)]))
    torch.testing.assert_close(both - zero, (first - zero) + (second - zero), atol=1e-5, rtol=0)
    assert zero.shape == (len(head.vertex_skin), 3)
    np.testing.assert_allclose(zero, load_albedo_basis().mean, atol=1e-6)
    np.testing.assert_allclose(first, load_albedo_basis().colours(codes[0].numpy()), atol=1e-5)


def test_the_basel_model_adds_its_modes(bfm_path):
    model, read = differentiable_model(bfm_path), read_bfm_front(bfm_path)
    generator = torch.Generator().manual_seed(0)
    identity, expression = torch.randn(2, 80, generator=generator), torch.randn(2, 64, generator=generator)
    wanted = read.mean + np.tensordot(identity[1].numpy(), read.identity_basis, 1)
    wanted = wanted + np.tensordot(expression[1].numpy(), read.expression_basis, 1)
    vertices = model.vertices(identity, expression)
    np.testing.assert_allclose(vertices[1], wanted, atol=1e-6)
    np.testing.assert_allclose(model.landmarks68(vertices)[1], wanted[read.landmarks68], atol=1e-6)
    torch.testing.assert_close(model.points("landmarks68", identity, expression), model.landmarks68(vertices))
    assert (model.identity_size, model.expression_size, model.albedo_size) == (80, 64, 80)
    assert not model.expression_is_bounded and model.lids is None
    assert model.point_sets == ("landmarks68",)


def test_colours_of_the_basel_model_become_linear_light(bfm_path):
    model, read = differentiable_model(bfm_path), read_bfm_front(bfm_path)
    codes = torch.zeros(1, 80)
    codes[0, 3] = 1.5
    encoded = (read.mean_albedo + 1.5 * read.albedo_basis[3]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(model.albedo(codes)[0], linear, atol=1e-5)
    assert torch.isfinite(model.albedo(codes * -1e4)).all()


def test_an_unknown_model_is_a_sentence():
    with pytest.raises(UsageError, match="no face model 'flame' to train with") as caught:
        differentiable_model("flame")
    assert caught.value.code == "unknown-face-model"
