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
from backend.face_models.flame import flame_arrays
from backend.face_models.linear_shape import BlinkBasis, LinearShape
from backend.face_models.model_arrays import ContourLandmarks, ModelArrays, Skinning
from backend.face_models.morphable_model import Licence, SurfacePoints
from backend.face_models.registered_head import RegisteredHead
from backend.face_models.skinning import skinned
from backend.lids import aperture
from tests.face_model_files import write_bfm_front
from tests.stand_in_heads import write_flame_head, write_flame_landmarks

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
    assert caught.value.code == "no-such-face-model"


JOINTS = ("root", "neck", "jaw", "left eye", "right eye")
OWN_MODES = 6


class JointedHead(OpenHead):
    """The open head with joints, an expression of its own and a contour that slides: what FLAME has."""

    def __init__(self):
        super().__init__()
        self.name = "jointed"
        generator = np.random.default_rng(0)
        field = np.cos(self.mean @ generator.normal(scale=20, size=(3, OWN_MODES)))  # (V, E)
        directions = generator.normal(scale=0.002, size=(OWN_MODES, 3))
        self.expression_basis = np.einsum("ve,ec->evc", field, directions).astype(np.float32)
        at = np.array([[0, -0.12, -0.06], [0, -0.1, -0.06], [0, -0.03, -0.05], *self.eye_centres(self.mean)])
        distance = np.linalg.norm(self.mean[:, None] - at, axis=2)  # (V, J)
        weights = np.exp(-((distance / 0.06) ** 2)) + 1e-3
        regressor = np.exp(-((distance.T / 0.02) ** 2)) + 1e-9
        self.skinning = Skinning(
            names=JOINTS,
            parents=np.array([-1, 0, 1, 1, 1]),
            weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
            regressor=(regressor / regressor.sum(1, keepdims=True)).astype(np.float32),
            pose_basis=generator.normal(scale=5e-4, size=(36, len(self.mean), 3)).astype(np.float32),
        )
        jaw = self.points68.vertices[:17], self.points68.barycentric[:17]
        others = np.roll(np.arange(17), 3)
        self.contour = ContourLandmarks(
            np.array([-30.0, 0.0, 30.0]),
            tuple(SurfacePoints(jaw[0][order], jaw[1][order]) for order in (others, np.arange(17), others[::-1])),
        )


@pytest.fixture(scope="module")
def jointed() -> JointedHead:
    return JointedHead()


@pytest.fixture(scope="module")
def jointed_own(jointed) -> DifferentiableModel:
    return differentiable_model(jointed, expression="own")


def random_pose(seed: int, count: int, size: float = 0.6) -> Tensor:
    return size * torch.randn(count, len(JOINTS), 3, generator=torch.Generator().manual_seed(seed))


def test_a_pose_turns_the_shaped_head_as_its_definition_says(jointed, jointed_own):
    identity, pose = random_codes(jointed_own, 1, 2)[0], random_pose(1, 2)
    expression = torch.randn(2, OWN_MODES, generator=torch.Generator().manual_seed(3))
    shut = torch.tensor([[1.0, 0.0], [0.4, 0.7]])
    shaped = jointed_own.vertices(identity, expression, lid_closure=shut).numpy()
    open_eyed = jointed_own.vertices(identity, expression).numpy()
    found = jointed_own.vertices(identity, expression, pose, shut)
    for row in range(2):
        joints = jointed.skinning.regressor @ open_eyed[row]  # lids do not move joints
        np.testing.assert_allclose(jointed_own.joints(identity, expression)[row], joints, atol=1e-6)
        wanted = skinned(jointed.skinning, shaped[row], joints, pose[row].numpy())
        np.testing.assert_allclose(found[row], wanted, atol=2e-6)


def test_points_alone_turn_with_the_head(jointed_own):
    identity, pose = random_codes(jointed_own, 2, 3)[0], random_pose(2, 3)
    expression, shut = torch.randn(3, OWN_MODES), torch.rand(3, 2)
    vertices = jointed_own.vertices(identity, expression, pose, shut)
    for name in jointed_own.point_sets:
        points = jointed_own.points(name, identity, expression, pose, shut)
        torch.testing.assert_close(points, jointed_own.points_of(name, vertices), atol=2e-6, rtol=0)


def test_lids_of_a_models_own_expression_are_those_of_its_keys(jointed, jointed_own):
    by_keys = differentiable_model(jointed)
    assert by_keys.expression_is_bounded and not jointed_own.expression_is_bounded
    assert jointed_own.expression_size == OWN_MODES and jointed_own.shuts_lids
    identity = random_codes(by_keys, 4)[0]
    wanted = by_keys.vertices(identity, expression_of(by_keys, eyeBlinkLeft=0.6, eyeBlinkRight=1.0))
    lids = torch.tensor([[0.6, 1.0]])
    torch.testing.assert_close(jointed_own.vertices(identity, torch.zeros(1, OWN_MODES), lid_closure=lids), wanted)
    replaced = by_keys.vertices(identity, expression_of(by_keys, eyeBlinkLeft=0.1), lid_closure=lids)
    torch.testing.assert_close(replaced, wanted)


def test_a_head_that_looks_aside_has_its_lids_shut_as_one_that_looks_ahead(jointed_own):
    identity = random_codes(jointed_own, 5)[0]
    still, shut = torch.zeros(1, OWN_MODES), torch.ones(1, 2)
    pose = torch.zeros(1, len(JOINTS), 3)
    pose[0, 0, 1] = np.pi / 2
    turned = jointed_own.vertices(identity, still, pose, shut)
    ahead = jointed_own.vertices(identity, still, lid_closure=shut)
    pivot = jointed_own.joints(identity, still)[:, :1]
    x, y, z = (ahead - pivot).unbind(-1)
    torch.testing.assert_close(turned, torch.stack([z, y, -x], -1) + pivot, atol=1e-6, rtol=0)


def test_gradients_reach_codes_joints_and_lids(jointed_own):
    codes = [torch.zeros(1, jointed_own.identity_size), torch.zeros(1, OWN_MODES), torch.zeros(1, 5, 3)]
    codes = [code.requires_grad_() for code in (*codes, torch.full((1, 2), 0.5))]
    jointed_own.points("landmarks478", *codes).square().sum().backward()
    for code in codes:
        assert torch.isfinite(code.grad).all() and code.grad.abs().sum() > 0


def test_the_contour_slides_with_the_yaw(jointed, jointed_own):
    vertices = jointed_own.vertices(torch.zeros(3, jointed_own.identity_size), torch.zeros(3, OWN_MODES))
    fixed = jointed_own.landmarks68(vertices)
    slid = jointed_own.landmarks68(vertices, torch.tensor([-80.0, 4.0, 25.0]))
    order = np.roll(np.arange(17), 3)
    torch.testing.assert_close(slid[0, :17], fixed[0, :17][order])
    torch.testing.assert_close(slid[1], fixed[1])
    torch.testing.assert_close(slid[2, :17], fixed[2, :17][order[::-1].copy()])
    torch.testing.assert_close(slid[:, 17:], fixed[:, 17:])


def test_what_a_model_has_not_is_refused(head, bfm_path):
    identity, expression = random_codes(head, 0)
    with pytest.raises(ValueError, match="open_head has no joints"):
        head.vertices(identity, expression, pose=torch.zeros(1, 5, 3))
    basel = differentiable_model(bfm_path)
    with pytest.raises(ValueError, match="lids of bfm cannot be shut"):
        basel.vertices(torch.zeros(1, 80), torch.zeros(1, 64), lid_closure=torch.ones(1, 2))
    with pytest.raises(UsageError, match="has no ARKit keys"):
        differentiable_model(bfm_path, expression="keys")
    with pytest.raises(UsageError, match="no expression but its keys"):
        differentiable_model("open_head", expression="own")


def arrays_of(model: JointedHead, **changes) -> ModelArrays:
    """As a file would hold it."""
    values = {
        "name": "stand-in", "label": "Stand-in 2026", "licence": Licence("none", "For tests.", False),
        "source": "nowhere", "mean": model.mean, "faces": model.topology.faces, "metres_per_unit": 1.0,
        "identity_basis": model.identity_basis, "expression_basis": model.expression_basis,
        "skinning": model.skinning, "landmarks68": model.points68, "contour": model.contour,
    }  # fmt: skip
    return ModelArrays(**values | changes)


def test_a_file_as_it_is_gives_its_own_expression_and_joints(jointed):
    model = differentiable_model(arrays_of(jointed))
    assert (model.expression_size, model.albedo_size, model.joint_names) == (OWN_MODES, 0, JOINTS)
    assert not model.expression_is_bounded and not model.shuts_lids and model.lids is None
    identity, expression = random_codes(model, 7)
    wanted = model.shape.base.numpy().reshape(-1, 3) + np.tensordot(identity[0].numpy(), jointed.identity_basis, 1)
    wanted = wanted + np.tensordot(expression[0].numpy(), jointed.expression_basis, 1)
    np.testing.assert_allclose(model.vertices(identity, expression)[0], wanted, atol=1e-6)
    assert model.albedo(torch.zeros(2, 0)).shape == (2, len(jointed.mean), 3)
    skin, known = model.vertex_skin.numpy(), jointed.masks["face"] & jointed.masks["outer_skin"]
    assert not (skin & (jointed.masks["part_eyeball_left"] | jointed.masks["part_teeth_upper"])).any()
    assert (skin & (jointed.masks["scalp"] | jointed.masks["neck"])).sum() < 0.02 * skin.sum()
    assert (skin & known).sum() > 0.6 * known.sum()


def test_a_file_that_lacks_what_is_asked_for_says_what_to_do(jointed):
    with pytest.raises(UsageError, match="does not say where its 68 landmarks are. Add the model first"):
        differentiable_model(arrays_of(jointed, landmarks68=None))
    with pytest.raises(UsageError, match="has no ARKit keys"):
        differentiable_model(arrays_of(jointed), expression="keys")


@pytest.fixture(scope="module")
def flame_head(prepared_flame) -> RegisteredHead:
    return RegisteredHead.load(prepared_flame)


@pytest.fixture(scope="module")
def basel_head(prepared_bfm) -> RegisteredHead:
    return RegisteredHead.load(prepared_bfm)


@pytest.mark.parametrize(("which", "mean_mm"), [("flame_head", 0.06), ("basel_head", 0.02)])
def test_prepared_models_are_within_hundredths_of_a_millimetre_and_shut_their_eyes(which, mean_mm, request):
    exact = request.getfixturevalue(which)
    model = differentiable_model(exact)
    assert model.expression_size == 52 and model.shuts_lids and "landmarks478" in model.point_sets
    shut = torch.ones(1, 2)
    for person in range(3):
        identity, expression = random_codes(model, person)
        wanted = exact_head(exact, identity[0], model.expression_names, expression[0])
        error_mm = 1000 * np.linalg.norm(model.vertices(identity, expression)[0].numpy() - wanted, axis=1)
        assert error_mm[exact.masks["face"]].mean() < mean_mm
        still = model.vertices(identity, torch.zeros_like(expression), lid_closure=shut)
        assert float(model.lids(still[:, model.lids.vertices]).max()) < 0.005


@pytest.mark.parametrize("joint", ["root", "neck"])
def test_flames_lids_are_shut_whichever_way_its_head_looks(flame_head, joint):
    model = differentiable_model(flame_head)
    identity, expression = random_codes(model, 3)[0], torch.zeros(1, 52)
    pose = torch.zeros(1, 5, 3)
    pose[0, JOINTS.index(joint), 1] = 0.9
    shut = model.vertices(identity, expression, pose, torch.ones(1, 2))[0]
    opened = model.vertices(identity, expression, pose)[0]
    for side in ("left", "right"):
        eye = flame_head.rig.eye(side)
        upper, lower = eye.loop[2 : eye.outer - 1], eye.loop[eye.outer + 2 : -1]
        gaps = [torch.cdist(head[upper], head[lower]).min(dim=1).values for head in (shut, opened)]
        assert gaps[0].max() < 0.0015 and gaps[1].max() > 0.005


def test_flames_file_is_read_with_the_landmarks_beside_it(tmp_path):
    path = write_flame_head(tmp_path / "generic_model.pkl")
    with pytest.raises(UsageError, match="does not say where its 68 landmarks are"):
        differentiable_model(path)
    write_flame_landmarks(tmp_path)
    model, read = differentiable_model(path), flame_arrays(path)
    assert (model.name, model.identity_size, model.expression_size) == ("flame2020", 300, 100)
    identity, expression = (torch.randn(2, size, generator=torch.Generator().manual_seed(1)) for size in (300, 100))
    pose = random_pose(4, 2, 0.3)
    found = model.vertices(identity, expression, pose)
    shaped = read.mean + np.tensordot(identity[1].numpy(), read.identity_basis, 1)
    shaped = shaped + np.tensordot(expression[1].numpy(), read.expression_basis, 1)
    wanted = skinned(read.skinning, shaped, read.skinning.regressor @ shaped, pose[1].numpy())
    np.testing.assert_allclose(found[1], wanted, atol=1e-5)
    ahead, aside = (model.landmarks68(found, torch.full((2,), yaw)) for yaw in (0.0, 35.0))
    assert (ahead - aside)[:, :17].norm(dim=2).max() > 0.005
    assert torch.equal(ahead[:, 17:], aside[:, 17:])
