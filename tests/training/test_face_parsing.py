"""The face parser's training: hard pixels, intersection over union, the mirror, CelebAMask-HQ, export, the table."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from backend.errors import UsageError
from backend.face_parsing import PARSING_CLASSES, read_face_parser
from backend.networks.bisenet import BiSeNet
from backend.networks.resnet import resnet18
from backend.weights import save_weights
from tests.training.test_celebamask_layout import BOXES, SIDE, a_face
from training.data.celebamask_pictures import CelebAMaskData, CelebAMaskPictures
from training.data.parsing_pictures import PARSING_COLOURS
from training.evaluation import parsing
from training.evaluation.class_confusion import ClassConfusion
from training.losses.hard_pixels import hard_pixel_loss
from training.methods.base import scheduled_share
from training.methods.face_parsing import (
    FaceParsingData,
    FaceParsingSettings,
    FaceParsingTraining,
    confusion_figures,
)
from training.runs.loop import make_trainer, quiet_lightning, validate
from training.settings import OptimiserSettings, load_settings

LABEL = {name: number for number, name in enumerate(PARSING_CLASSES)}


# Hard pixels ---------------------------------------------------------------------------------------------------------


def sure(probabilities: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (1, 2, 1, N) that give class 1 these probabilities, and labels (1, 1, N) of class 1."""
    own = torch.tensor(probabilities, dtype=torch.float64)
    logits = torch.stack([torch.log1p(-own), own.log()])[None, :, None]
    return logits, torch.ones(1, 1, len(own), dtype=torch.uint8)


def test_only_pixels_below_the_probability_count():
    loss = hard_pixel_loss(*sure([0.9, 0.5, 0.2, 0.71]), probability=0.7, least=0.25)
    assert float(loss) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)


def test_where_too_few_are_hard_the_hardest_count():
    loss = hard_pixel_loss(*sure([0.9, 0.99, 0.8, 0.95]), probability=0.7, least=0.5)
    assert float(loss) == pytest.approx(-(math.log(0.8) + math.log(0.9)) / 2)


@pytest.mark.parametrize("probability", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("least", [0.01, 0.3, 1.0])
def test_hard_pixels_are_those_of_the_published_sorting(probability: float, least: float):
    """The losses in falling order: where the last of the least share is hard all hard ones count, else that share."""
    own = np.random.default_rng(0).uniform(0.01, 0.99, 40)
    ordered, share = np.sort(-np.log(own))[::-1], max(int(least * len(own)), 1)
    limit = -math.log(probability)
    wanted = ordered[ordered > limit] if ordered[share - 1] > limit else ordered[:share]
    assert float(hard_pixel_loss(*sure(own.tolist()), probability, least)) == pytest.approx(wanted.mean())


def test_no_gradient_reaches_a_sure_pixel():
    logits, labels = sure([0.9, 0.5])
    logits.requires_grad_()
    hard_pixel_loss(logits, labels, least=0.1).backward()
    assert (logits.grad[..., 0] == 0).all() and (logits.grad[..., 1] != 0).all()


# Intersection over union ---------------------------------------------------------------------------------------------


def test_intersection_over_union_by_hand():
    confusion = ClassConfusion(4)
    confusion.add(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]]))
    confusion.add(torch.tensor([[2, 0]], dtype=torch.uint8), torch.tensor([[0, 0]], dtype=torch.uint8))
    # 0: 2 of {2 right, 1 taken for 1, 1 that is 2}; 1: 2 of 3; 2: none of 1; 3 does not occur
    expected = [2 / 4, 2 / 3, 0.0]
    assert confusion.intersection_over_union[:3].tolist() == pytest.approx(expected)
    assert confusion.intersection_over_union[3].isnan()
    assert confusion.mean_intersection_over_union == pytest.approx(np.mean(expected))
    assert confusion.pixel_accuracy == pytest.approx(4 / 6)


def test_a_class_that_does_not_occur_is_left_out_and_nothing_has_no_figures():
    confusion = ClassConfusion(10)
    assert confusion_figures(confusion) == {}
    confusion.add(torch.tensor([0, LABEL["nose"]]), torch.tensor([0, LABEL["nose"]]))
    assert confusion_figures(confusion) == {
        "mean_iou": 1.0, "pixel_accuracy": 1.0, "iou_background": 1.0, "iou_nose": 1.0,
    }  # fmt: skip


# The method ----------------------------------------------------------------------------------------------------------


def a_method(**network) -> FaceParsingTraining:
    torch.manual_seed(0)
    values = {"network": {"width": 8, **network}, "data": {"size": 64}, "training": {"accelerator": "cpu"}}
    return FaceParsingTraining(FaceParsingSettings.model_validate(values))


def drawn_faces(count: int = 4, size: int = 64) -> dict[str, torch.Tensor]:
    """Boxes in the colours of their classes, somewhere else in each picture."""
    generator = np.random.default_rng(0)
    labels = np.zeros((count, size, size), np.uint8)
    for picture in labels:
        top, left = generator.integers(0, 16, 2)
        picture[top : top + 48, left : left + 48] = LABEL["skin"]
        picture[top + 8 : top + 20, left + 28 : left + 44] = LABEL["left_eye"]
        picture[top + 8 : top + 20, left + 4 : left + 20] = LABEL["right_eye"]
        picture[top + 32 : top + 44, left + 14 : left + 34] = LABEL["mouth"]
    image = torch.from_numpy(PARSING_COLOURS[labels]).permute(0, 3, 1, 2).float() / 255
    return {"image": image, "parsing": torch.from_numpy(labels)}


def total(method: FaceParsingTraining, batch) -> torch.Tensor:
    return method.weighted_total(method.losses(batch, method.outputs(batch)))


@pytest.fixture(scope="module")
def trained():
    method, batch = a_method(), drawn_faces()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    totals = []
    for _ in range(40):
        loss = total(method, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(float(loss.detach()))
    return method.eval(), batch, totals


def test_it_learns_a_batch(trained):
    method, batch, totals = trained
    assert totals[-1] < 0.5 * totals[0]
    method.metrics(batch, method.outputs(batch))
    figures = confusion_figures(method._confusion)
    assert figures["mean_iou"] > 0.7 and figures["iou_left_eye"] > 0.5


def test_every_head_is_compared_and_one_without_weight_is_not():
    method, batch = a_method(), drawn_faces()
    losses = method.losses(batch, method.outputs(batch))
    assert set(losses) == {"main", "eighth", "sixteenth"}
    values = method.settings.model_dump() | {"losses": {"eighth": 0}}
    only = FaceParsingTraining(FaceParsingSettings.model_validate(values))
    assert set(only.losses(batch, only.outputs(batch))) == {"main", "sixteenth"}


def test_exported_weights_are_read_by_the_backend_and_answer_the_same(trained, tmp_path):
    method, batch, _ = trained
    state, facts = method.exported()
    save_weights(tmp_path / "parser.safetensors", state, method.name, "open_head", facts)
    parser = read_face_parser(tmp_path / "parser.safetensors")
    assert parser.form.size == 64 and facts["classes"] == list(PARSING_CLASSES)
    answer = method.outputs(batch)["main"].argmax(dim=1)
    assert (parser.labels(batch["image"]) == answer).float().mean() > 0.99  # parameters are stored in half precision


def test_it_may_look_closer_than_the_pictures_are_large():
    method, batch = a_method(size=96).eval(), drawn_faces(2)
    outputs = method.outputs(batch)
    assert all(logits.shape == (2, 10, 64, 64) for logits in outputs.values())
    assert method.exported()[1]["network"] == {"classes": 10, "width": 8, "size": 96}
    assert torch.allclose(outputs["main"], method.parser(batch["image"]), atol=1e-4)


def test_in_the_mirror_the_left_eye_is_the_right_one(monkeypatch):
    method, batch = a_method(), drawn_faces(2)
    monkeypatch.setattr(torch, "rand", lambda count, **options: torch.tensor([0.0, 1.0]))
    first, second = method.prepared(batch)["parsing"], method.eval().prepared(batch)["parsing"]
    assert torch.equal(second, batch["parsing"]) and torch.equal(first[1], batch["parsing"][1])
    swapped = batch["parsing"][0].flip(-1)
    assert torch.equal(first[0] == LABEL["left_eye"], swapped == LABEL["right_eye"])
    assert torch.equal(first[0] == LABEL["mouth"], swapped == LABEL["mouth"])
    image = method.train().prepared(batch)["image"][0]
    assert torch.equal(image, batch["image"][0].flip(-1))


def test_the_pictures_show_photograph_truth_and_answer(trained):
    method, batch, _ = trained
    grid = method.pictures(batch, method.outputs(batch))
    assert grid.shape == (2 * 64, 3 * 3 * 64, 3) and grid.dtype == np.uint8
    truth = PARSING_COLOURS[batch["parsing"][0].numpy()]  # the pictures are of these colours, too
    assert np.abs(grid[:64, 64:128].astype(int) - truth).max() <= 2
    assert (grid[64:, 3 * 64 :] == 0).all()


def test_a_validation_measures_all_its_pixels_together(trained):
    method, _, _ = trained
    # The first batch has no eyes: a mean over batches would be another figure.
    whole = drawn_faces(4)
    bare = {"image": whole["image"][:2] * 0, "parsing": whole["parsing"][:2] * 0}
    eyes = {name: values[2:] for name, values in whole.items()}

    class TwoBatches(CelebAMaskData):
        def setup(self, stage=None):
            pass

        def val_dataloader(self):
            return torch.utils.data.DataLoader([bare, eyes], batch_size=None)

    with quiet_lightning():
        trainer = make_trainer(method.settings, None)
        measured = validate(trainer, method, TwoBatches(None, "labelled", 64, 2))
    method.eval()
    expected = ClassConfusion(10)
    for batch in (bare, eyes):
        expected.add(batch["parsing"], method.outputs(batch)["main"].argmax(dim=1))
    assert measured["mean_iou"] == pytest.approx(expected.mean_intersection_over_union, abs=1e-6)
    assert measured["iou_mouth"] == pytest.approx(float(expected.intersection_over_union[LABEL["mouth"]]), abs=1e-6)
    assert {"total", "main", "eighth", "sixteenth", "pixel_accuracy"} <= set(measured)


def test_a_batch_of_one_picture_is_refused():
    with pytest.raises(UsageError, match="batch_size"):
        load_settings(FaceParsingSettings, "face-parsing", "open-small", overrides=["data.batch_size=1"])


def test_it_may_begin_from_imagenet_weights(tmp_path):
    state = resnet18(width=8).state_dict()
    torch.save(state, tmp_path / "resnet.pth")
    method = a_method(initial_weights=str(tmp_path / "resnet.pth"))
    assert torch.equal(method.parser.network.cp.resnet.layer2[0].conv1.weight, state["layer2.0.conv1.weight"])
    with pytest.raises(UsageError, match="ResNet-18 of width 4"):
        a_method(width=4, initial_weights=str(tmp_path / "resnet.pth"))


def test_the_paper_preset_is_the_published_training():
    settings = load_settings(FaceParsingSettings, "face-parsing", "paper")
    assert (settings.network.width, settings.network.hard_below, settings.data.size) == (64, 0.7, 448)
    chosen = settings.optimiser
    assert (chosen.name, chosen.learning_rate, settings.training.max_steps) == ("sgd", 1e-2, 80_000)
    assert scheduled_share(chosen, 0.25) == pytest.approx(0.75**0.9)


def test_a_polynomial_schedule_ends_at_the_final_share():
    chosen = OptimiserSettings(schedule="polynomial", power=2.0, final_share=0.1)
    assert [scheduled_share(chosen, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.325, 0.1])


# CelebAMask-HQ -------------------------------------------------------------------------------------------------------


def test_faces_of_celebamask_are_learnt_from_and_the_last_are_held_out(tmp_path):
    for number in range(3):
        a_face(tmp_path, number)
    data = FaceParsingData(celebamask=str(tmp_path), size=32, batch_size=2, workers=0)
    method = a_method()
    loaded = method.data(FaceParsingSettings(data=data))
    loaded.setup()
    assert (len(loaded.training), len(loaded.validation)) == (2, 1)
    torch.manual_seed(3)
    batch = next(iter(loaded.train_dataloader()))
    assert batch["image"].shape == (2, 3, 32, 32) and batch["parsing"].shape == (2, 32, 32)
    assert batch["parsing"].max() <= LABEL["lower_lip"] and (batch["parsing"] == LABEL["skin"]).any()
    torch.manual_seed(3)
    again = next(iter(loaded.train_dataloader()))
    assert all(torch.equal(batch[name], again[name]) for name in ("image", "parsing"))
    assert "CelebAMask" in FaceParsingTraining(FaceParsingSettings(data=data)).learns_from


def test_a_crop_shows_the_same_part_of_picture_and_masks(tmp_path):
    """The picture is made of the masks' own values, so that both are cut alike or differ."""
    a_face(tmp_path)
    from training.data.celebamask_layout import open_celebamask

    folder = open_celebamask(tmp_path)
    labels = folder.item(0).labels
    cv2.imwrite(str(tmp_path / "CelebA-HQ-img/0.jpg"), cv2.merge([20 * labels] * 3), [cv2.IMWRITE_JPEG_QUALITY, 100])
    pictures = CelebAMaskPictures(folder, np.array([0]), 32, cropped=True)
    seen = set()
    for seed in range(6):
        item = pictures.read(0, np.random.default_rng(seed))
        assert item["image"].shape == (32, 32, 3) and item["parsing"].shape == (32, 32)
        different = np.abs(item["image"][..., 0].astype(int) - 20 * item["parsing"]) > 20
        assert different.mean() < 0.2
        seen.add(item["parsing"].tobytes())
    assert len(seen) > 3
    whole = CelebAMaskPictures(folder, np.array([0]), SIDE, cropped=False).read(0, np.random.default_rng(0))
    assert (whole["parsing"] == labels).all() and set(BOXES) > {"skin"}


# The table -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    facts = {"network": {"classes": 10, "width": 4, "size": 64}}
    save_weights(path, BiSeNet(10, 4).state_dict(), "face-parsing", "open_head", facts)
    return path


def test_the_command_prints_a_table_and_writes_figures_and_sheet(tmp_path, capsys, monkeypatch, weights, data_folder):
    monkeypatch.setattr(parsing, "PICTURES_PER_PERSON", 1)
    folder = tmp_path / "photos/london"
    folder.mkdir(parents=True)
    (folder / "001_neutral.jpg").symlink_to(data_folder / "photos/london/001_neutral.jpg")
    cv2.imwrite(str(folder / "wall.jpg"), np.full((60, 60, 3), 128, np.uint8))
    figures, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    wanted = ["--network", str(weights), "--people", "1", "--data", str(tmp_path)]
    assert parsing.main([*wanted, "--json", str(figures), "--sheet", str(sheet)]) == 0
    printed = capsys.readouterr().out
    for words in ("left brow", "mean of the classes", "yaw below 30 degrees", "London, by landmarks"):
        assert words in printed
    found = json.loads(figures.read_text())
    assert 0 <= found["synthetic"]["mean_iou"] <= 1 and "iou_skin" in found["London, by landmarks"]
    assert cv2.imread(str(sheet)).shape == (228, 452, 3)  # the wall shows no face


def test_a_part_without_pictures_is_a_dash():
    printed = parsing.table({"all": {"mean_iou": 0.5, "pixel_accuracy": 1.0, "iou_skin": 0.25}, "none": {}})
    skin = next(line for line in printed.splitlines() if line.startswith("skin"))
    assert skin.split() == ["skin", "25.0", "-"]


def test_the_parser_answers_in_the_size_of_the_pictures_whatever_the_batch(monkeypatch, weights):
    parser = read_face_parser(weights)
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
    whole = parsing.parse(parser, images)
    monkeypatch.setattr(parsing, "BATCH", 2)
    assert whole.shape == (5, 48, 48) and (parsing.parse(parser, images) == whole).mean() > 0.999


@pytest.mark.parametrize("words", [["--people", "0"], ["--size", "8"], ["--only", "synthetic", "--sheet", "a.png"]])
def test_a_wrong_command_is_refused(words):
    with pytest.raises(SystemExit):
        parsing.main(words)


def test_photographs_that_are_not_there_are_named(tmp_path, weights):
    with pytest.raises(UsageError, match="photos/london"):
        parsing.main(["--network", str(weights), "--only", "photographs", "--data", str(tmp_path)])
