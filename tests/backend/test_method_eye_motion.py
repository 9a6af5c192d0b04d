"""Codes of a photograph by Eye Motion's network, and the fit that takes them beside the landmarks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import backend
from backend import options, pipeline
from backend.calibration import load_calibration
from backend.code_measurement import AGREEMENT, CodeMeasurement, identity_prior, strengthened
from backend.detection import find_face
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.fitting import Observation, fit
from backend.methods import eye_motion
from backend.methods.eye_motion import (
    OPEN_SPLIT,
    PAPER_SPLIT,
    CropCamera,
    EyeMotion,
    EyeMotionNetwork,
    Sureness,
    project,
    rotation_matrix,
)
from backend.methods.eye_states import EyeStateDetector
from backend.methods.method import ParameterSplit
from backend.networks.eye_state import EyeStateNetwork
from backend.rendering.camera import Camera
from backend.weights import save_weights

DEMO = Path(backend.__file__).parent / "assets/demo/astronaut.png"
SIZE = 64


@pytest.fixture(scope="module")
def astronaut():
    return cv2.cvtColor(cv2.imread(str(DEMO)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def face(astronaut):
    return find_face(astronaut, "astronaut.png", 1)


def key_names():
    return tuple(name for name in load_face_model("open_head").key_names if name not in BLINK_CORRECTIVES.values())


@pytest.fixture(scope="module", params=[False, True], ids=["picture", "picture and landmarks"])
def network(request):
    torch.manual_seed(0)
    network = EyeMotionNetwork(OPEN_SPLIT, width=4, size=SIZE, sees_landmarks=request.param).eval()
    if request.param:
        network.landmark_encoder.whiten_as(torch.rand(300, 478, 2))
    return network


@pytest.fixture(scope="module")
def method(network):
    sureness = Sureness(
        torch.ones(96), torch.full((96,), 0.9), torch.full((52,), 0.1), torch.full((52,), 0.1), torch.full((52,), 0.2)
    )
    detector = EyeStateDetector(EyeStateNetwork(width=4, blocks=1))
    return EyeMotion(network, sureness, key_names(), detector, {"eye-motion": "random"})


def test_the_splits_are_the_papers_239_and_the_open_heads_221():
    assert PAPER_SPLIT.total == 239 and list(PAPER_SPLIT.sizes().values()) == [80, 64, 80, 6, 9]
    assert OPEN_SPLIT.total == 221 and OPEN_SPLIT.expression == len(key_names())


@given(st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_parts_come_in_their_order_and_lose_nothing(sizes):
    split = ParameterSplit(*sizes)
    outputs = torch.arange(2 * split.total).reshape(2, -1)
    parts = split.split(outputs)
    assert list(parts) == ["identity", "expression", "albedo", "pose", "light"]
    assert torch.equal(torch.cat(list(parts.values()), dim=1), outputs)
    with pytest.raises(ValueError, match="Expected"):
        split.split(outputs[:, 1:])


def test_a_network_starts_near_the_mean_face_that_looks_into_the_camera(network):
    codes = network.decode(network(torch.rand(3, 3, SIZE, SIZE), SIZE * torch.rand(3, 478, 2)))
    assert codes.identity.abs().max() < 0.5
    assert codes.expression.max() < 0.1 and codes.expression.min() > 0.02
    points = project(torch.zeros(3, 1, 3), codes.rotation, codes.translation, torch.tensor(CropCamera(SIZE).intrinsics))
    assert (points - SIZE / 2).abs().max() < 0.1 * SIZE
    assert codes.rotation[:, 1, 1].max() < -0.9  # up in the model is up in the picture


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_rotations_are_rodrigues(axis):
    found = rotation_matrix(torch.tensor([axis]))[0].numpy()
    assert np.allclose(found, cv2.Rodrigues(np.array(axis))[0], atol=1e-5)


def test_a_rotation_of_nothing_has_a_gradient():
    axis = torch.zeros(1, 3, dtype=torch.float32, requires_grad=True)
    rotation_matrix(axis)[0, 2, 1].backward()
    assert axis.grad[0, 0] == pytest.approx(1.0, abs=1e-3)


def test_projection_is_the_cameras():
    camera = CropCamera(224).camera(*_pose())
    points = np.random.default_rng(0).normal(0, 0.05, (5, 3))
    pose = [torch.from_numpy(values)[None].float() for values in (camera.rotation, camera.translation)]
    found = project(torch.from_numpy(points)[None].float(), *pose, torch.from_numpy(camera.intrinsics).float())
    assert np.allclose(found[0].numpy(), camera.project(points), atol=1e-2)
    assert camera.fx == pytest.approx(1015) and camera.cx == 112


def _pose():
    camera = Camera.orbit(0.3, -0.1, 1.0, 224, focal_pixels=1015)
    return camera.rotation, camera.translation


def test_white_light_of_nine_outputs_lights_all_colours_alike():
    network = EyeMotionNetwork(PAPER_SPLIT, width=4, size=SIZE, keys=False)
    codes = network.decode(torch.randn(2, 239))
    assert codes.light.shape == (2, 9, 3)
    assert torch.equal(codes.light[..., 0], codes.light[..., 2])
    assert codes.expression.min() < 0  # coefficients, not keys


def test_the_codes_of_a_photograph_see_the_head_where_the_face_is(method, astronaut, face):
    codes = method.codes(astronaut, face)
    assert (codes.camera.width, codes.camera.height) == (astronaut.shape[1], astronaut.shape[0])
    middle = codes.camera.project(np.zeros(3))
    eyes = face.points[[33, 263]]
    assert np.linalg.norm(middle - eyes.mean(0)) < 1.0 * np.linalg.norm(eyes[1] - eyes[0])
    width = np.linalg.norm(codes.camera.project(np.array([0.03, 0, 0])) - codes.camera.project(np.array([-0.03, 0, 0])))
    assert width == pytest.approx(np.linalg.norm(eyes[1] - eyes[0]), rel=0.5)
    assert set(codes.closure) == {"left", "right"} and codes.points.shape == (478, 2)
    assert codes.light.shape == (9, 3) and np.isfinite(codes.light).all()


def test_a_network_that_sees_landmarks_answers_to_them(astronaut, face):
    torch.manual_seed(1)
    network = EyeMotionNetwork(OPEN_SPLIT, width=4, size=SIZE, sees_landmarks=True).eval()
    network.landmark_encoder.whiten_as(torch.rand(300, 478, 2))
    again = EyeMotionNetwork.from_facts(network.facts())
    again.load_state_dict(network.state_dict())
    picture, points = torch.rand(1, 3, SIZE, SIZE), SIZE * torch.rand(1, 478, 2)
    assert torch.equal(again.eval()(picture, points), network(picture, points))
    with torch.autocast("cpu", torch.bfloat16):  # in which a tenth of a pixel would not be seen
        apart = (network(picture, points + 0.1) - network(picture, points)).abs().max()
    assert apart > 0
    older = {name: value for name, value in network.facts().items() if name != "sees_landmarks"}
    assert not EyeMotionNetwork.from_facts(older).sees_landmarks


def test_a_photograph_and_a_part_of_it_have_the_same_codes(method, astronaut):
    left, top = 60, 0
    part = np.ascontiguousarray(astronaut[top : top + 360, left : left + 360])
    whole_face = find_face(astronaut, "whole", 1)
    part_face = type(whole_face)(**{**vars(whole_face), "points": whole_face.points - [left, top]})
    whole, of_part = method.codes(astronaut, whole_face), method.codes(part, part_face)
    assert of_part.measurement.identity == pytest.approx(whole.measurement.identity, abs=1e-3)
    point = np.array([0.01, 0.02, 0.03])
    assert of_part.camera.project(point) == pytest.approx(whole.camera.project(point) - [left, top], abs=0.05)


def test_nothing_measured_is_the_populations_prior():
    mean, deviation = identity_prior([], 4)
    assert (mean == 0).all() and (deviation == 1).all()


def test_several_photographs_are_surer_than_one_but_not_independent():
    one = CodeMeasurement(np.array([0.4, 1.0]), np.array([0.5, 0.8]))
    mean, deviation = identity_prior([one], 2)
    assert mean == pytest.approx(one.identity) and deviation == pytest.approx(one.identity_deviation)
    other = CodeMeasurement(np.array([0.8, 1.0]), np.array([0.5, 0.8]))
    mean, deviation = identity_prior([one, other], 2)
    assert mean == pytest.approx(np.array([0.6, 1.0]) * 2 / (1 + AGREEMENT))
    assert (deviation < one.identity_deviation).all() and (deviation > one.identity_deviation / np.sqrt(2)).all()


def test_the_mean_of_several_answers_is_brought_to_where_the_truth_is_expected():
    generator = np.random.default_rng(0)
    truth, errors = generator.normal(size=100_000), generator.normal(size=(4, 100_000))
    seen = truth + 1.2 * np.sqrt(0.6) * errors[0] + 1.2 * np.sqrt(0.4) * errors[1:]
    answers = seen / (1 + 1.2**2)  # the mean of what is possible, of each for itself
    share = np.array([[0.5], [0.3], [0.2]])
    mean = (share * answers).sum(0)
    said = strengthened(mean, share, np.corrcoef(answers)[0, 1])
    slope = (truth * mean).sum() / (mean**2).sum(), (truth * said).sum() / (said**2).sum()
    assert slope[0] > 1.1 and slope[1] == pytest.approx(1, abs=0.02)


def test_the_surer_photograph_counts_for_more():
    sure = CodeMeasurement(np.array([1.0]), np.array([0.2]))
    unsure = CodeMeasurement(np.array([-1.0]), np.array([1.0]))
    mean, _ = identity_prior([sure, unsure], 1)
    assert mean[0] > 0.9


@pytest.fixture(scope="module")
def observation():
    """The landmarks of a person as the detector would see them, and that person's identity."""
    model, calibration = load_face_model("open_head"), load_calibration()
    identity = np.random.default_rng(11).normal(size=model.identity_size).astype(np.float32)
    neutral = model.neutral(identity)
    camera = Camera.orbit(0.2, 0.0, 1.0, 800, focal_pixels=2560)
    view = fitting_view(camera)
    points = camera.project(calibration.embedding(view).apply(neutral.astype(np.float64)))
    return Observation(points, 800, 800, camera.fx), identity


def fitting_view(camera):
    from backend.calibration import ViewDirection

    return ViewDirection.from_pose(camera.rotation, camera.translation)


def test_codes_that_are_right_bring_the_fit_nearer_to_the_person(observation):
    seen, identity = observation
    model, calibration = load_face_model("open_head"), load_calibration()
    codes = CodeMeasurement(identity.astype(np.float64), np.full(len(identity), 0.3))
    errors = []
    for measured in (None, codes):
        head = fit(model, calibration, [Observation(seen.points, 800, 800, seen.focal, None, measured)])
        apart = head.neutral - model.neutral(identity)
        errors.append(np.linalg.norm(apart[model.masks["face"]], axis=1).mean())
    assert errors[1] < 0.6 * errors[0]


def test_codes_that_know_nothing_change_nothing(observation):
    seen, identity = observation
    model, calibration = load_face_model("open_head"), load_calibration()
    nothing = CodeMeasurement(np.zeros(len(identity)), np.ones(len(identity)))
    heads = [
        fit(model, calibration, [Observation(seen.points, 800, 800, seen.focal, None, codes)])
        for codes in (None, nothing)
    ]
    assert np.abs(heads[0].neutral - heads[1].neutral).max() < 1e-5


def test_a_key_that_a_network_sees_is_found_though_landmarks_hardly_show_it(observation):
    seen, identity = observation
    model, calibration = load_face_model("open_head"), load_calibration()
    puffed = CodeMeasurement(np.zeros(len(identity)), np.ones(len(identity)), {"cheekPuff": (0.8, 0.05)})
    found = []
    for codes in (None, puffed):
        head = fit(model, calibration, [Observation(seen.points, 800, 800, seen.focal, None, codes)])
        found.append(head.photographs[0].key_weights[head.keys.names.index("cheekPuff")])
    assert found[0] < 0.1 and found[1] > 0.25


def test_the_options_know_the_methods():
    assert options.ReconstructOptions.from_request({"method": "fit"}).method == "fit"
    assert options.ReconstructOptions.from_request({}).method == options.DEFAULT_METHOD
    assert options.ReconstructOptions(method="fit").as_request()["method"] == "fit"
    with pytest.raises(UsageError, match="There are: deep-fusion, eye-motion, fit, spectral"):
        options.ReconstructOptions.from_request({"method": "eye-motions"})


def test_a_method_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="There is no method deep"):
        pipeline.method_named("deep")
    assert pipeline.method_named("fit") is None


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(UsageError, match="gone"):
        EyeMotion.load(tmp_path / "gone.safetensors")


def test_weights_of_another_face_model_are_refused(network, tmp_path):
    facts = {"network": network.facts(), "key_names": list(key_names())}
    save_weights(tmp_path / "bfm.safetensors", network.state_dict(), "eye-motion", "BFM_model_front.mat", facts)
    with pytest.raises(UsageError, match="BFM_model_front"):
        EyeMotion.load(tmp_path / "bfm.safetensors")


def test_a_head_says_by_which_method_and_weights_it_was_made(method, astronaut, monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "method_named", lambda name, device="cpu": method)
    asked = options.ReconstructOptions(texture=False, texture_size=64, method="eye-motion")
    pipeline.reconstruct([DEMO], tmp_path / "head", asked)
    from backend.result_folder import read_result

    result = read_result(tmp_path / "head")
    assert result.software["method"] == "eye-motion"
    assert result.weights["eye-motion"] == "random"


@pytest.mark.gpu
def test_a_graphics_card_makes_the_same_head(astronaut):
    """Within 0.1 mm, with the weights that ship."""
    if not torch.cuda.is_available():
        pytest.skip("there is no graphics card that torch can use")
    heads = [pipeline.fit_photographs([astronaut], [None], eye_motion.METHOD, device) for device in ("cpu", "cuda")]
    assert np.abs(heads[0].neutral - heads[1].neutral).max() < 1e-4
    posed = [head.photographs[0].posed for head in heads]
    assert np.abs(posed[0] - posed[1]).max() < 1e-4
