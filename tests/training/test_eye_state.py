"""Photographs with shut lids, eye crops, the detector's training and its table."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import backend
from backend.detection import detect_faces
from backend.errors import UsageError
from backend.eye_crops import crop_eye, eye_region
from backend.face_models import load_face_model
from backend.picture_regions import Picture
from training.data import eye_crop_files
from training.data.eye_batches import EyeCropData, EyeCropDataset, collate_plain, is_held_out
from training.data.eye_crop_files import CropRecipe, eyes_of_sample, make_missing, photographs_in
from training.data.eye_crops import CropCounts, EyeCrops, crops_of, cut_eyes, spoilt
from training.data.fitted_portraits import PortraitFitter
from training.data.photographed_people import PhotographedPeople
from training.data.shut_photographs import PortraitEditor, person_of
from training.evaluation import elam
from training.evaluation.elam import Confusion, ElamFigures, KnownEyes
from training.methods.eye_state import EyeStateSettings, EyeStateTraining, recipe_of, wanted_probability

DEMO = Path(backend.__file__).parent / "assets/demo/astronaut.png"


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    model = load_face_model("open_head")
    return PortraitEditor(model, PortraitFitter(model, tmp_path_factory.mktemp("portraits")).portrait(DEMO))


def shut(side_weights):
    """In place of `random_eyes`."""
    return lambda generator: dict(side_weights)


def test_a_fitted_photograph_is_read_back_as_it_was(tmp_path, editor, monkeypatch):
    fitter = PortraitFitter(editor.model, tmp_path)
    monkeypatch.setattr(fitter, "_fit", lambda path: editor.portrait)
    fitter.portrait(DEMO)
    monkeypatch.setattr(fitter, "_fit", lambda path: pytest.fail("it was fitted already"))
    again = fitter.portrait(DEMO)
    for name in ("image", "neutral", "texture", "light"):
        assert (getattr(again, name) == getattr(editor.portrait, name)).all()
    assert again.key_weights == editor.portrait.key_weights
    assert np.allclose(again.camera.project(again.neutral), editor.portrait.camera.project(editor.portrait.neutral))


@pytest.fixture
def no_shadow(monkeypatch):
    monkeypatch.setattr("training.data.shut_photographs.SOCKET_SHADOW_SHARE", 0.0)


def test_shut_lids_hide_the_eyes_and_nothing_else_changes(editor, monkeypatch, no_shadow):
    monkeypatch.setattr("training.data.shut_photographs.random_eyes", shut({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))
    picture = editor.edited(np.random.default_rng(0))
    assert (picture.closure > 0.95).all()
    difference = np.abs(picture.image.astype(int) - editor.portrait.image.astype(int)).max(axis=2)
    eye_distance = np.linalg.norm(picture.eyes[0] - picture.eyes[1])
    rows, columns = np.nonzero(difference > 2)
    away = np.min([np.hypot(columns + 0.5 - x, rows + 0.5 - y) for x, y in picture.eyes], axis=0)
    assert away.max() < 0.75 * eye_distance
    for x, y in picture.eyes:  # the dark iris is gone: the lid is as bright as skin
        part = np.s_[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        assert difference[part].mean() > 10


def test_a_wink_shuts_the_subjects_own_side_in_the_picture(editor, monkeypatch, no_shadow):
    monkeypatch.setattr("training.data.shut_photographs.random_eyes", shut({"eyeBlinkLeft": 1.0}))
    picture = editor.edited(np.random.default_rng(0))
    assert picture.closure[0] > 0.95 and picture.closure[1] < 0.3
    assert picture.eyes[0, 0] > picture.eyes[1, 0]  # the subject's left lies on the picture's right
    difference = np.abs(picture.image.astype(int) - editor.portrait.image.astype(int)).sum(axis=2)
    middle = int(picture.eyes[:, 0].mean())
    # the smile squints, which the other eye loses
    assert difference[:, middle:].sum() > 3 * difference[:, :middle].sum()


@pytest.fixture(scope="module")
def album(editor):
    return PhotographedPeople(3, lambda number: editor.portrait, 224, pictures_per_person=3)


def test_a_photographed_person_has_the_head_and_the_skin_of_the_photograph(album, editor):
    person = album.person(0)
    assert np.allclose(person.neutral, editor.portrait.neutral)
    side = len(person.layers[0])
    texture = cv2.resize(editor.portrait.texture, (side, side), interpolation=cv2.INTER_AREA) / 255
    assert np.allclose(texture**2.2, person.layers[0][..., :3], atol=0.02)
    assert album.person(0) is person


def test_the_eyes_of_a_photographed_person_are_found_where_they_are(album):
    generator, counts = np.random.default_rng(4), CropCounts()
    samples = [album.photograph(index) for index in range(4)]
    assert [sample.person for sample in samples] == [0, 0, 0, 1]
    found = crops_of([eyes_of_sample(s, "astronaut", "photographed") for s in samples], generator, counts)
    assert counts.pictures == 4 and counts.elsewhere == 0 and counts.missed <= 1
    for crops in found:
        assert np.isfinite(crops.apertures).all() and crops.images.shape[1:] == (80, 80, 3)
        assert set(crops.person) <= {"astronaut"} and set(crops.kind) <= {"photographed"}


def test_a_person_has_several_photographs():
    assert person_of(Path("london_005_smiling.jpg")) == person_of(Path("london_005_neutral.jpg")) == "london_005"
    assert person_of(Path("canada_003f.jpg")) == "canada_003f"


@pytest.fixture(scope="module")
def demo_face():
    image = np.asarray(Image.open(DEMO).convert("RGB"))
    return image, detect_faces(image)[0]


def test_the_network_trains_on_the_crop_that_the_detector_takes(demo_face):
    """A stored crop, resampled without chance, is what `EyeStateDetector` cuts."""
    image, face = demo_face
    crops = cut_eyes(image, face, np.zeros(2), "someone", "edited")
    batch = collate_plain([EyeCropDataset(crops)[index] for index in range(2)])
    for row, side in enumerate(("left", "right")):
        cut = crop_eye(Picture(image), eye_region(face, side)).astype(float)
        learnt = batch["image"][row].permute(1, 2, 0).numpy() * 255
        assert np.abs(cut - learnt).mean() < 3
        assert np.corrcoef(cut.ravel(), learnt.ravel())[0, 1] > 0.995


def test_hidden_eyes_and_wrong_faces_are_left_out(demo_face):
    image, face = demo_face
    one = cut_eyes(image, face, np.array([np.nan, 1.0], np.float32), "someone", "synthetic")
    assert one.closure.tolist() == [1.0] and len(one.images) == 1
    right_places = np.array([eye_region(face, side).centre for side in ("left", "right")])
    assert cut_eyes(image, face, np.zeros(2), "someone", "edited", right_places) is not None
    assert cut_eyes(image, face, np.zeros(2), "someone", "edited", right_places + 200) is None


def test_spoiling_is_by_chance_alone_and_keeps_the_places():
    image = np.zeros((300, 300, 3), np.uint8)
    image[100:140, 180:220] = 255
    first, factor = spoilt(image, np.random.default_rng(3), 90.0)
    again, _ = spoilt(image, np.random.default_rng(3), 90.0)
    assert (first == again).all() and np.isclose(factor, len(first) / 300)
    bright = first.astype(float).mean(axis=2)
    weight = np.where(bright > bright.min() + 0.6 * (bright.max() - bright.min()), 1.0, 0.0)
    rows, columns = np.indices(bright.shape) + 0.5
    found = np.array([(rows * weight).sum(), (columns * weight).sum()]) / weight.sum()
    assert np.allclose(found, np.array([120, 200]) * factor, atol=3)


def test_a_hidden_eye_of_a_synthetic_picture_has_no_closure():
    visible = np.ones(478, bool)
    visible[list(eye_crop_files.LIDS["left"])] = False
    sample = SimpleNamespace(
        image=np.zeros((8, 8, 3), np.uint8), closure=np.array([0.2, 1.0], np.float32), visible478=visible,
        landmarks478=np.zeros((478, 2)), seed=1, person=2,
    )  # fmt: skip
    picture = eyes_of_sample(sample)
    assert np.isnan(picture.closure[0]) and picture.closure[1] == 1.0
    assert np.isclose(sample.closure[0], 0.2)


def test_files_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / f"{name}.png")
    made = []

    def pictures(recipe, part, generator):
        made.append(part.photograph.name)
        return iter([])

    monkeypatch.setattr(eye_crop_files, "_edited", pictures)
    recipe = CropRecipe(tmp_path / "crops", tmp_path / "photos", 1, 0, 0, None, 5)
    make_missing(recipe)
    make_missing(recipe)
    assert made == ["a.png", "b.png"]
    recipe.parts()[0].path.unlink()
    make_missing(recipe)
    assert made == ["a.png", "b.png", "a.png"]
    assert len(eye_crop_files.load_crops(recipe)) == 0


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(UsageError, match="no photographs"):
        photographs_in(tmp_path)


def drawn_eyes(count: int, seed: int = 0) -> EyeCrops:
    """Dark discs for open eyes, lines for shut ones, on noisy skin."""
    generator = np.random.default_rng(seed)
    images = np.full((count, 80, 80, 3), (200, 160, 140), np.uint8)
    closure = (np.arange(count) % 2).astype(np.float32)
    rows, columns = np.indices((80, 80))
    for image, is_shut in zip(images, closure, strict=True):
        disc = np.hypot(rows - 40, columns - 40 - generator.normal(0, 2)) < 9
        image[(np.abs(rows - 44) < 2) & (np.abs(columns - 40) < 18) if is_shut else disc] = (40, 30, 30)
    images = (images + generator.normal(0, 8, images.shape)).clip(0, 255).astype(np.uint8)
    apertures = generator.uniform(0.3, 1.0, (count, 2)).astype(np.float32)
    people = np.array([f"person {number}" for number in range(count)])
    return EyeCrops(images, apertures, closure, closure, people, np.full(count, "edited"))


@pytest.fixture(scope="module")
def settings():
    return EyeStateSettings.model_validate({"network": {"width": 8, "blocks": 1, "dropout": 0.0}})


def test_it_learns_to_tell_a_line_from_a_disc_and_the_detector_loads_it(settings, tmp_path):
    from backend.methods.eye_states import make_network

    torch.manual_seed(0)
    method = EyeStateTraining(settings)
    drawn_eyes(128).save(tmp_path / "drawn.npz")
    data = EyeCropData(None, 32, more_crops=[tmp_path])
    data.setup("fit")
    assert len(data.training) + len(data.held_out) == 128 and len(data.held_out) > 4
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for _ in range(12):
        for batch in data.train_dataloader():
            outputs = method.outputs(batch)
            losses = method.losses(batch, outputs)
            optimiser.zero_grad()
            sum(losses.values()).backward()
            optimiser.step()
    method.eval()
    batch = next(iter(data.val_dataloader()))
    outputs = method.outputs(batch)
    assert method.metrics(batch, outputs)["accuracy"] > 0.95
    assert method.metrics(batch, outputs)["closure_error"] < 0.25
    assert method.pictures(batch, outputs).shape[2] == 3
    state, facts = method.exported()
    network = make_network(**facts["network"]).eval()
    network.load_state_dict(state)
    assert torch.allclose(network(batch["image"], batch["apertures"])[:, :2], outputs["logits"], atol=1e-5)


def test_crops_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="no eye crops"):
        EyeCropData(None, 32, more_crops=[tmp_path / "gone.npz"])


def test_a_person_is_either_learnt_from_or_held_out():
    names = [f"london_{number:03}" for number in range(400)]
    held_out = [name for name in names if is_held_out(name)]
    assert 25 < len(held_out) < 80
    assert held_out == [name for name in names if is_held_out(name)]


def test_a_slit_counts_as_open_and_between_is_between():
    closure = torch.tensor([0.0, 0.6, 0.7, 0.8, 1.0])
    assert torch.allclose(wanted_probability(closure), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_a_missing_folder_of_photographs_is_named(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFEMASK_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="training_ccby"):
        recipe_of(settings.data)


# The table -----------------------------------------------------------------------------------------------------------


def test_a_predictor_that_always_says_open_has_the_papers_figures():
    """517 of 1000 open: accuracy 51.7 %, F1 of open 68.2 %: the paper's row without ELAM."""
    confusion = Confusion(open_open=517, shut_open=483)
    assert np.isclose(confusion.accuracy, 0.517) and np.isclose(confusion.f1, 0.6816, atol=1e-4)


def test_a_missed_face_is_wrong_whatever_its_state():
    confusion = Confusion()
    confusion.add(True, None)
    confusion.add(False, None)
    confusion.add(True, True)
    confusion.add(False, False)
    assert confusion.accuracy == 0.5 and np.isclose(confusion.f1, 0.5)


def test_every_row_sees_every_picture_and_faces_count_once():
    image = np.zeros((8, 8, 3), np.uint8)
    pictures = [
        KnownEyes(image, None, {"face": True}, "CEW, faces"),
        KnownEyes(image, None, {"left": True, "right": False}, "synthetic, winks"),
        KnownEyes(image, None, {"right": False}, "synthetic, eyes"),
    ]
    figures, faces = ElamFigures(), iter(([object()], [object()], []))

    def both_shut(image, face, focal):
        return {"left": 0.9, "right": 0.6}

    elam.measure(figures, pictures, {elam.OURS: both_shut}, lambda image: next(faces))
    ours, always = figures.confusions[elam.OURS], figures.confusions[elam.ALWAYS_OPEN]
    assert vars(ours["CEW, faces"]) == vars(Confusion(shut_shut=1))
    assert vars(ours["synthetic, winks"]) == vars(Confusion(shut_shut=1, open_shut=1))
    assert vars(ours["synthetic, eyes"]) == vars(Confusion(missed_open=1))
    assert vars(always["synthetic, eyes"]) == vars(Confusion(open_open=1))
    assert "not reached" in elam.table(figures)


def test_the_table_reads_the_state_from_the_fitted_mesh(demo_face):
    """A detector that says a wink makes a mesh that winks, in our row alone."""
    from backend.methods.eye_states import EyeState

    image, face = demo_face

    class SaysLeftShut:
        def read(self, image, face):
            return {"left": EyeState(1.0, 1.0), "right": EyeState(0.0, 0.0)}

    rows = elam.readings(SaysLeftShut())
    found = rows[elam.OURS](image, face, None)
    assert found["left"] > 0.9 and found["right"] < 0.2
    plain = rows["MediaPipe's lids, no ELAM"](image, face, None)
    assert plain["left"] < 0.5 and plain["right"] < 0.5
