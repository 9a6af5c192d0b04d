"""Codes of several photographs by deep fusion: who it is from up to three of them, what faces do by Eye Motion."""

from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from backend import options, pipeline
from backend.calibration import ViewDirection, load_calibration
from backend.code_measurement import CodeMeasurement, identity_prior
from backend.detection import DetectedFace
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_parsing import PARSING_CLASSES, FaceParser, PictureForm, read_face_parser
from backend.fitting import Observation, fit
from backend.methods import deep_fusion
from backend.methods.deep_fusion import AGREEMENT_WITH_EYE_MOTION, DeepFusion, coded_views, with_eye_motion
from backend.methods.deep_fusion_network import ONE_VIEW, OPEN_SPLIT, DeepFusionNetwork
from backend.methods.method import Codes
from backend.methods.sureness import IdentitySureness
from backend.networks.bisenet import BiSeNet
from backend.rendering.camera import Camera
from backend.weights import save_weights

SIDE = 320
ONE = IdentitySureness(torch.full((96,), 0.4), torch.full((96,), 0.8))
THREE = IdentitySureness(torch.linspace(0.5, 1, 96), torch.linspace(0.05, 2, 96))


def seen_from(yaw: float, seed: int = 0) -> tuple[np.ndarray, DetectedFace]:
    """A picture without meaning, and where the mean head's landmarks would be in it."""
    camera = Camera.orbit(np.radians(yaw), 0.0, 1.0, SIDE, focal_pixels=3.2 * SIDE)
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    head = load_face_model("open_head").mean.astype(np.float64)
    points = camera.project(load_calibration().embedding(view).apply(head))
    low, high = points.min(axis=0), points.max(axis=0)
    image = np.random.default_rng([seed, round(yaw) % 360]).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    face = DetectedFace(points, np.zeros(478), np.concatenate([low, high - low]), 1.0, 0.0, "made up")
    return image, face


def network(**other) -> DeepFusionNetwork:
    torch.manual_seed(0)
    made = DeepFusionNetwork(OPEN_SPLIT, width=2, backbone_width=4, size=32, sees_landmarks=True, **other).eval()
    made.landmarks.whiten_as(torch.rand(300, 478, 2))
    for layer in (made.backbone.fc, *made.landmarks.last_layers):
        torch.nn.init.normal_(layer.weight[: OPEN_SPLIT.identity])  # the rest, as it starts, stays near the mean
    return made


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    torch.manual_seed(0)
    return FaceParser(BiSeNet(len(PARSING_CLASSES), 4), PictureForm(32)).eval()


def eye_motion_codes(image: np.ndarray, face: DetectedFace) -> Codes:
    """Different for each photograph, and told by its first pixel."""
    value = float(image[0, 0, 0]) / 255
    measured = CodeMeasurement(np.full(96, 9.0), np.full(96, 0.5), {"jawOpen": (value, 0.1)})
    camera = Camera(1.0, 1.0, 0.0, 0.0, 1, 1, np.eye(3), np.array([0.0, 0.0, value]))
    closure = {"left": value, "right": 0.0}
    return Codes(measured, np.full(40, value), camera, np.full((9, 3), value), closure, face.points)


@pytest.fixture(scope="module")
def method(parser) -> DeepFusion:
    eye_motion = SimpleNamespace(codes=eye_motion_codes, weights={"eye-motion": "random"})
    return DeepFusion(network(), THREE, ONE, eye_motion, {"deep-fusion": "random"}, parser)


def codes_of(method, views) -> list[Codes]:
    return method.codes_of([image for image, _ in views], [face for _, face in views])


@pytest.fixture(scope="module")
def triple():
    return [seen_from(yaw) for yaw in (40, 0, -40)]


def carriers(codes: list[Codes]) -> list[int]:
    return [number for number, each in enumerate(codes) if each.measurement.identity is not None]


# Together.


def test_in_whatever_order_photographs_come_the_person_is_the_same_and_stands_with_the_front_one(method, triple):
    expected = codes_of(method, triple)
    assert carriers(expected) == [1]
    views = [(image, face.points) for image, face in triple]
    direct, swapped = (
        coded_views(method.network, shown, method.parser).identity[0] * THREE.identity_gain
        for shown in (views, views[::-1])
    )
    beside, _ = identity_prior([eye_motion_codes(image, face).measurement for image, face in triple], 96)
    both = (direct.numpy() + beside) / 2 * 2 / (1 + AGREEMENT_WITH_EYE_MOTION)
    assert np.allclose(expected[1].measurement.identity, both, atol=1e-6)
    assert (direct - swapped).abs().max() > 0.1
    for order in permutations(range(3)):
        found = codes_of(method, [triple[number] for number in order])
        assert carriers(found) == [order.index(1)]
        assert np.array_equal(found[order.index(1)].measurement.identity, expected[1].measurement.identity)
        for codes, number in zip(found, order, strict=True):
            assert np.array_equal(codes.camera.rotation, expected[number].camera.rotation)


def test_what_the_face_does_is_eye_motions_and_colours_light_and_cameras_are_the_networks(method, triple):
    for (image, face), codes in zip(triple, codes_of(method, triple), strict=True):
        own = eye_motion_codes(image, face)
        assert codes.measurement.keys == own.measurement.keys and codes.closure == own.closure
        assert codes.points is face.points
        assert not np.allclose(codes.albedo, own.albedo) and not np.allclose(codes.light, own.light)
        assert codes.albedo.shape == (40,) and codes.light.shape == (9, 3)
        assert (codes.camera.width, codes.camera.height) == (SIDE, SIDE)


def test_a_camera_is_that_of_the_whole_photograph(method, triple):
    """The head appears near the face, wherever in the photograph that is."""
    point = np.array([0.0, 0.0, 0.05])
    before = codes_of(method, triple)
    moved = [
        (np.pad(image, ((70, 0), (30, 0), (0, 0)), mode="edge"), replace(face, points=face.points + [30, 70]))
        for image, face in triple
    ]
    for codes, after in zip(before, codes_of(method, moved), strict=True):
        assert after.camera.project(point) == pytest.approx(codes.camera.project(point) + [30, 70], abs=3)
        assert codes.camera.project(point) == pytest.approx([SIDE / 2, SIDE / 2], abs=SIDE / 3)


def test_photographs_beyond_three_keep_what_eye_motion_says_and_no_identity(method, triple):
    more = [*triple, seen_from(10, seed=1)]
    found, three = codes_of(method, more), codes_of(method, triple)
    assert carriers(found) == [1]
    assert np.array_equal(found[1].measurement.identity, three[1].measurement.identity)
    own = eye_motion_codes(*more[3])
    assert np.array_equal(found[3].albedo, own.albedo) and found[3].camera.translation[2] == own.camera.translation[2]
    assert found[3].measurement.keys == own.measurement.keys


def test_one_photograph_alone_carries_the_identity_from_any_side(method):
    for yaw in (0, 45, -45):
        image, face = seen_from(yaw)
        codes = method.codes(image, face)
        assert codes.measurement.identity.shape == (96,) and codes.measurement.identity_deviation[0] == pytest.approx(
            0.4
        )


def test_without_a_front_view_another_one_carries_the_identity(method, triple):
    assert carriers(codes_of(method, [triple[2], triple[0]])) == [1]


def test_photographs_that_all_show_the_back_of_the_head_are_refused(method):
    with pytest.raises(PhotoError, match="turned away") as caught:
        codes_of(method, [seen_from(125), seen_from(-130)])
    assert caught.value.code == "no-face-shown" and caught.value.fix.action == "choose-another-photo"


# How sure.


def test_two_views_are_surer_than_one_and_less_sure_than_three(method):
    said = torch.ones(96)
    one, two, three = (method.measurement(said, views, {}) for views in (1, 2, 3))
    assert one.identity == pytest.approx(0.4) and three.identity == pytest.approx(np.linspace(0.5, 1, 96), abs=1e-6)
    assert one.identity_deviation == pytest.approx(0.4)  # half: landmarks are seen twice
    assert three.identity_deviation.min() == 0.05 and three.identity_deviation.max() == 1.0
    surer = THREE.identity_deviation.numpy() < 0.8
    deviations = [measured.identity_deviation[surer] for measured in (three, two, one)]
    assert (np.diff(deviations, axis=0) > 0).all()
    nearer = np.square(deviations)
    assert (nearer[1] - nearer[0] < nearer[2] - nearer[1]).all()


def test_what_both_networks_say_is_as_far_from_the_mean_head_as_the_truth_is():
    """Two answers, each the mean of what is possible for it, of truths that are normal."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=50_000)
    noise = np.sqrt(1 / AGREEMENT_WITH_EYE_MOTION - 1)
    fusion, eye_motion = ((truth + generator.normal(0, noise, truth.shape)) / (1 + noise**2) for _ in range(2))
    assert np.corrcoef(fusion, eye_motion)[0, 1] == pytest.approx(AGREEMENT_WITH_EYE_MOTION, abs=0.01)
    both = with_eye_motion(CodeMeasurement(fusion, np.full(truth.shape, 0.5)), eye_motion)
    assert (truth @ both.identity) / (both.identity @ both.identity) == pytest.approx(1, abs=0.02)
    assert np.square(both.identity - truth).mean() < 0.9 * np.square(fusion - truth).mean()


# Files.


@pytest.fixture
def files(tmp_path, parser, monkeypatch):
    """Weights of the network and of the parser; Eye Motion is not read."""
    made_up = SimpleNamespace(codes=eye_motion_codes, weights={"eye-motion": "em", "eye-state": "es"})
    monkeypatch.setattr(deep_fusion.EyeMotion, "load", classmethod(lambda cls, device="cpu": made_up))

    def written(made: DeepFusionNetwork, name: str = "deep-fusion"):
        alone = {f"{ONE_VIEW}{key}": value for key, value in ONE.state().items()}
        path = tmp_path / "fusion.safetensors"
        facts = {"network": made.facts(), "key_names": []}
        save_weights(path, made.state_dict() | THREE.state() | alone, name, "open_head", facts)
        return path

    shape = {"classes": len(PARSING_CLASSES), "width": 4, "size": 32}
    facts = {"network": shape}
    save_weights(tmp_path / "parser.safetensors", parser.network.state_dict(), "face-parsing", "open_head", facts)
    return SimpleNamespace(written=written, parser=tmp_path / "parser.safetensors")


def test_saved_weights_say_the_same(files, method, triple):
    loaded = DeepFusion.load(files.written(network()), parser=files.parser)
    assert loaded.weights == {
        "deep-fusion": "fusion", "face-parsing": "parser", "eye-motion": "em", "eye-state": "es"
    }  # fmt: skip
    assert torch.equal(loaded.one_view.identity_gain, ONE.identity_gain)
    assert torch.equal(loaded.sureness.identity_deviation, THREE.identity_deviation)
    expected = DeepFusion(network(), THREE, ONE, method.eye_motion, {}, read_face_parser(files.parser))
    apart = codes_of(loaded, triple)[1].measurement.identity - codes_of(expected, triple)[1].measurement.identity
    assert np.abs(apart).max() < 0.05


def test_a_network_that_sees_no_classes_needs_no_parser(files, triple):
    loaded = DeepFusion.load(files.written(network(sees_classes=False)), parser="there is none")
    assert "face-parsing" not in loaded.weights and carriers(codes_of(loaded, triple)) == [1]


def test_weights_of_another_method_are_refused(files):
    with pytest.raises(UsageError, match="are of spectral, not of deep-fusion"):
        DeepFusion.load(files.written(network(), "spectral"), parser=files.parser)


# In the pipeline.


def test_an_identity_that_is_left_out_is_passed_over():
    left_out = CodeMeasurement(None, None, {"jawOpen": (0.5, 0.1)})
    known = CodeMeasurement(np.array([0.4, 1.0]), np.array([0.5, 0.8]))
    mean, deviation = identity_prior([left_out, known, left_out], 2)
    assert mean == pytest.approx(known.identity) and deviation == pytest.approx(known.identity_deviation)
    mean, deviation = identity_prior([left_out], 2)
    assert (mean == 0).all() and (deviation == 1).all()


def test_the_fit_takes_the_identity_of_one_photograph_and_the_keys_of_all(monkeypatch, triple):
    model = load_face_model("open_head")
    carried = []
    monkeypatch.setattr(type(model), "own_measurement", lambda self, said: carried.append(said) or said)
    wanted = np.zeros(96)
    wanted[0] = 1.5
    known = CodeMeasurement(wanted, np.full(96, 0.05), {"cheekPuff": (0.0, 0.05)})
    left_out = CodeMeasurement(None, None, {"cheekPuff": (0.8, 0.05)})
    seen = [
        Observation(face.points, SIDE, SIDE, 3.2 * SIDE, None, said)
        for (_, face), said in zip(triple[:2], (left_out, known), strict=True)
    ]
    head = fit(model, load_calibration(), seen)
    assert carried == [known] and head.identity[0] > 1
    puffed = [photograph.key_weights[head.keys.names.index("cheekPuff")] for photograph in head.photographs]
    assert puffed[0] > 0.25 and puffed[1] < 0.1


def test_the_pipeline_shows_the_method_all_photographs_together_and_says_what_they_lack(
    method, triple, monkeypatch, tmp_path
):
    """Two of them, from the front and from one side."""
    shown = dict(zip(("side.png", "front.png"), triple[:2], strict=True))
    for name, (image, _) in shown.items():
        pipeline.write_picture(tmp_path / name, image)
    found = {name: face for name, (_, face) in shown.items()}
    monkeypatch.setattr("backend.view_checks._different_people", lambda *photographs: [])  # takes seconds
    monkeypatch.setattr("backend.view_checks.find_face", lambda image, name, number: found[name])
    monkeypatch.setattr(pipeline, "method_named", lambda name, device="cpu": method)
    together = []
    read = method.codes_of
    monkeypatch.setattr(method, "codes_of", lambda images, faces: together.append(len(images)) or read(images, faces))
    asked = options.ReconstructOptions(texture=False, texture_size=64, method="deep-fusion")
    report = pipeline.reconstruct([tmp_path / name for name in shown], tmp_path / "head", asked)
    assert together == [2]
    assert any("No photograph shows the right side" in warning for warning in report.warnings)
    from backend.result_folder import read_result

    result = read_result(tmp_path / "head")
    assert result.software["method"] == "deep-fusion" and result.weights["deep-fusion"] == "random"
    assert [photograph.file for photograph in result.photographs] == ["photo_1.jpg", "photo_2.jpg"]
