"""What skin detail is worth: figures on known wrinkles, tables, pictures."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from backend.bench import CORES
from backend.detail_layout import layout_of
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.fitting import FittedHead
from backend.methods.attribute_detail import AttributeDetail
from backend.methods.attribute_detail_network import AttributeDetailNetwork
from backend.photographs import Photograph
from backend.wrinkle_groups import WRINKLE_GROUPS
from training import cli
from training.ablate import ablations
from training.data import sheet
from training.data.unwrapped import nearest_light, unwrapped_sample
from training.evaluation import attribute_detail as command
from training.evaluation import detail_bench, detail_fitted, detail_pictures, detail_tables
from training.evaluation.ablation_tables import mean_figures
from training.evaluation.detail_figures import (
    KnownFaces,
    MeasuredFace,
    Surface,
    angle,
    detail_figures,
    measured_faces,
)
from training.methods.attribute_detail import AttributeDetailSettings, DetailRenderingSettings
from training.methods.detail_rendering import render
from training.settings import differences, load_settings

PICTURE, TEXTURE, SMALL = 128, 256, 64


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


class OnePerson(KnownFaces):
    """The first person, whose picture is made once."""

    def __init__(self, layout) -> None:
        super().__init__(layout, 1, picture_size=PICTURE)
        (self.known,) = super().__iter__()

    def __iter__(self):
        yield self.known


@pytest.fixture(scope="module")
def faces(model):
    return OnePerson(layout_of(model, TEXTURE))


@pytest.fixture(scope="module")
def known(faces):
    assert (faces.known.face.trust > 0.5).mean() > 0.2
    return faces.known


class Oracle:
    """Stands in for the method: says the true relief of a person for the offsets of expressions that it knows."""

    def __init__(self, faces, known) -> None:
        self.layout, neutral = faces.layout, known.face.neutral
        keys = faces.model.key_offsets(neutral)
        self.known = [(known.face.posed - neutral, known.relief)]
        for group in WRINKLE_GROUPS.values():
            weights = dict.fromkeys(group.keys, 1.0)
            self.known.append((keys.apply(neutral, weights) - neutral, faces.relief(known.person, weights)))

    def attributes(self, face):
        return SimpleNamespace(albedo=None)

    def displacement(self, attributes, offsets):
        (moved,) = offsets
        return min(self.known, key=lambda one: float(np.abs(one[0] - moved).sum()))[1][None]


class Silent(Oracle):
    """Says that there is no detail."""

    def displacement(self, attributes, offsets):
        return np.zeros((len(offsets), self.layout.height, self.layout.width), np.float32)


# Figures --------------------------------------------------------------------------------------------------------------


def test_angles_are_in_degrees():
    first, second = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[0.0, 1, 0], [0, np.sqrt(0.75), 0.5]])
    assert angle(first, second) == pytest.approx([90, 30])


def test_the_normals_of_a_relief_lean_by_its_slope(model):
    layout = layout_of(model, TEXTURE)
    surface = Surface(layout, model.mean)
    rows = np.arange(layout.height)[:, None].repeat(layout.width, axis=1)
    slope = 0.2
    # to the square root of two, texels are as high as they are wide
    relief = slope * (rows * layout.millimetres_per_texel / 1000)
    away = angle(surface.coarse, surface.normals(relief.astype(np.float32)))
    cheek = layout.allowed.numpy() > 0.99
    assert np.median(away[cheek]) == pytest.approx(np.degrees(np.arctan(slope)), rel=0.25)
    assert angle(surface.coarse, surface.normals(np.zeros_like(relief, np.float32)))[cheek].max() < 0.1


def test_the_truth_has_no_error_and_no_detail_has_that_of_the_coarse_head(faces, known):
    for method, refined in ((Oracle(faces, known), 0.0), (Silent(faces, known), None)):
        measured = MeasuredFace(method, faces, known)
        seen = measured.seen()
        assert seen["coarse_degrees"] > 1.0
        assert seen["refined_degrees"] == pytest.approx(seen["coarse_degrees"] if refined is None else 0.0, abs=0.05)
        assert seen["depth_correlation"] == pytest.approx(0.0 if refined is None else 1.0, abs=1e-6)
        unseen = measured.unseen("brows_up")
        assert unseen["unseen_coarse_degrees"] > 3.0
        if refined is None:
            assert list(unseen.values()) == pytest.approx([unseen["unseen_coarse_degrees"]] * 3, rel=1e-3)
        else:
            assert unseen["unseen_degrees"] < 0.05 and unseen["unseen_copied_degrees"] > 1.0


def test_figures_are_means_over_groups_and_people(faces, known, monkeypatch):
    monkeypatch.setattr("training.evaluation.detail_figures.KnownFaces", lambda layout, count: faces)
    method = Silent(faces, known)
    figures = detail_figures(method, 1)
    (measured,) = measured_faces(method, faces)
    rows = [measured.unseen(group) for group in WRINKLE_GROUPS]
    expected = np.mean([row["unseen_degrees"] for row in rows if row])
    assert figures["people"] == 1 and figures["unseen_degrees"] == pytest.approx(expected)
    assert figures["coarse_degrees"] == pytest.approx(measured.seen()["coarse_degrees"])
    monkeypatch.setattr("training.evaluation.detail_figures.LEAST_SHOWN", 1.0)
    with pytest.raises(UsageError, match="--people"):
        detail_figures(method, 1)


def test_means_are_over_the_rows_that_have_a_figure():
    assert mean_figures([{"a": 1.0, "b": 3.0}, {"a": 2.0}]) == {"a": 1.5, "b": 3.0}
    assert mean_figures([]) == {}


# Fitted heads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(model, known, monkeypatch):
    """The fit finds the true head."""
    head = head_of(model, known)
    monkeypatch.setattr(detail_fitted, "unwrapped_photograph", lambda *given: (head, known.face, {}))
    return head


def head_of(model, known) -> FittedHead:
    neutral, camera = known.face.neutral, known.sample.camera
    photograph = SimpleNamespace(camera=camera, posed=known.face.posed)
    return FittedHead(model, known.sample.identity, neutral, model.key_offsets(neutral), [photograph])


def test_in_the_picture_only_the_true_detail_of_the_true_head_is_nearly_right(faces, known, model, fitted):
    errors = detail_fitted.fitted_errors(Oracle(faces, known), model, known)
    assert errors["refined_degrees"] == errors["true_head_degrees"]
    assert errors["perfect_degrees"] == pytest.approx(errors["true_head_degrees"], abs=1e-3)
    assert errors["true_head_degrees"] < 0.6 * errors["coarse_degrees"]
    silent = detail_fitted.fitted_errors(Silent(faces, known), model, known)
    assert silent["refined_degrees"] == pytest.approx(silent["coarse_degrees"], abs=0.02)


def test_a_head_that_is_turned_wrong_is_as_wrong_as_that(faces, known, model, fitted):
    turn = cv2.Rodrigues(np.radians([0.0, 12.0, 0.0]))[0]
    camera = known.sample.camera
    fitted.photographs[0].camera = camera.with_pose(turn @ camera.rotation, camera.translation)
    errors = detail_fitted.fitted_errors(Oracle(faces, known), model, known)
    assert errors["perfect_degrees"] > errors["true_head_degrees"] + 4.0


def test_the_fit_is_told_the_focal_length_of_the_picture_itself(faces, known, model, monkeypatch):
    told = []

    def no_face(image, focal_35mm, layout):
        told.append(focal_35mm)
        raise PhotoError("no-face", "There is no face.")

    monkeypatch.setattr(detail_fitted, "unwrapped_photograph", no_face)
    assert detail_fitted.fitted_errors(Oracle(faces, known), model, known) == {}
    camera = known.sample.camera
    assert told[0] / 43.2666 == pytest.approx(camera.fx / np.hypot(PICTURE, PICTURE), rel=1e-4)


def test_photometric_errors_fall_with_the_relief_that_was_lit(faces, known, model):
    layout, face = faces.layout, known.face
    light = nearest_light(face.texture, face.trust, Surface(layout, face.posed).coarse)
    points, normals = layout.surface(torch.from_numpy(face.posed)[None])
    texture = torch.from_numpy(face.texture).permute(2, 0, 1)[None] / 255
    trust = torch.from_numpy(face.trust)[None]
    scale = layout.millimetres_per_texel
    lit = render(
        torch.from_numpy(known.relief)[None], points, normals, torch.from_numpy(light)[None], texture, trust,
        layout.covered, scale, 8.0,
    ).refined  # fmt: skip
    shown = (lit[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    pictured = type(face)(shown, face.trust, face.posed, face.neutral, face.rotation)
    rendering = DetailRenderingSettings()
    errors = detail_fitted.photometric_errors(Oracle(faces, known), pictured, light, rendering)
    assert errors["coarse"] > 1.0 and errors["refined"] < 0.8 * errors["coarse"]
    silent = detail_fitted.photometric_errors(Silent(faces, known), pictured, light, rendering)
    assert silent["refined"] == pytest.approx(silent["coarse"], abs=1e-3)
    assert silent["coarse"] == pytest.approx(errors["coarse"])


# Tables ---------------------------------------------------------------------------------------------------------------


def row_starting(text, start):
    (found,) = (line for line in text.splitlines() if line.startswith(start))
    return found


def test_the_table_of_normals_says_by_how_much_detail_helps():
    true = [{"coarse_degrees": coarse, "refined_degrees": 2.0} for coarse in (2.0, 4.0)]
    fitted = [{"coarse_degrees": 10.0, "refined_degrees": 9.0, "perfect_degrees": 8.0, "true_head_degrees": 0.5}]
    text, figures = detail_tables.normals_words(true, fitted)
    assert "33.3 %" in row_starting(text, "true heads") and ": reached" in row_starting(text, "true heads")
    assert "10.0 %" in row_starting(text, "fitted heads") and "NOT reached" in row_starting(text, "fitted heads")
    assert "8.00, 20.0 % lower" in row_starting(text, "Fitted heads with the true detail")
    assert figures["true heads"]["people"] == 2


def unseen(coarse, copied, network):
    return {"unseen_coarse_degrees": coarse, "unseen_copied_degrees": copied, "unseen_degrees": network}


def test_the_table_of_riggability_compares_with_copying():
    people = [{"smile": unseen(5, 4, 3), "blink": unseen(2, 3, 3)}, {"smile": unseen(7, 8, 3)}, {}]
    text, figures = detail_tables.riggability_words(people)
    assert row_starting(text, "smile").split()[1:] == ["2", "6.00", "6.00", "3.00", "50.0", "%"]
    assert "wrinkles next to nothing" in row_starting(text, "pucker")
    assert figures["all groups"]["unseen_copied_degrees"] == pytest.approx((3.5 + 8) / 2)
    assert "copying the map of the picture: reached" in text
    worse, _ = detail_tables.riggability_words([{"smile": unseen(5, 4, 4.5)}])
    assert "NOT reached" in worse
    with pytest.raises(UsageError, match="--people"):
        detail_tables.riggability_words([{}])


def trained(refined, unseen_degrees):
    figures = {"coarse_degrees": 4.0, "refined_degrees": refined, "people": 48.0}
    return {"seed": 0, "steps": 500, "figures": figures | unseen(6.0, 5.0, unseen_degrees)}


def test_the_ablation_says_which_claims_hold(monkeypatch, tmp_path, capsys):
    results = {name: [trained(3.4, 4.5)] for name in detail_tables.ABLATION_ROWS}
    results["full"] = [trained(3.2, 4.4)]
    results["without-annealing"] = [trained(3.0, 4.6)]
    monkeypatch.setattr(detail_tables, "read_results", lambda method: results)
    assert command.main(["--table", "ablation", "--json", str(tmp_path / "figures.json")]) == 0
    text = capsys.readouterr().out
    assert row_starting(text, "all of it").split()[3:] == ["4.00", "3.20", "20.0", "5.00", "4.40", "500"]
    seen, rigged = (row_starting(text, f"By normals of {what}") for what in ("the picture", "unseen"))
    assert seen.split("Not: ")[1] == "annealing helps." and "regions help; the adversarial loss helps" in seen
    assert rigged.endswith("annealing helps. Not: none.")
    written = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert written["poster"]["refined_degrees"] == 3.4
    del results["without-drconv"]
    with pytest.raises(UsageError, match="ablate attribute-detail --only without-drconv"):
        detail_tables.ablation_table()


def test_every_row_of_the_ablation_is_a_run_with_the_same_budget():
    named = {run.name: run for run in ablations("attribute-detail")}
    assert list(named) == list(detail_tables.ABLATION_ROWS)
    chosen = {
        name: load_settings(AttributeDetailSettings, "attribute-detail", run.preset, overrides=run.overrides)
        for name, run in named.items()
    }
    assert all(each.training == chosen["full"].training for each in chosen.values())
    assert chosen["full"].training.max_minutes is None and chosen["full"].training.max_steps > 0
    changed = {name: set(differences(chosen["full"], each)) for name, each in chosen.items()}
    assert changed["without-drconv"] == {"network.regions"} and chosen["without-drconv"].network.regions == 1
    assert changed["without-adversarial"] == {"losses.adversarial", "losses.discriminator"}
    assert changed["without-annealing"] == {"annealing.shape"} and changed["without-swapping"] == {"losses.swapped"}
    assert {"network.sees", "network.head", "network.constant"} <= changed["poster"]


def test_the_table_of_colours_says_how_many_photographs_gain():
    errors = {"a": {"coarse": 6.0, "refined": 4.0}, "b": {"coarse": 4.0, "refined": 5.0}}
    text, figures = detail_tables.photometric_words(errors, 3)
    assert "2 of 3 photographs" in text and "5.00 before, 4.50 with relief, 10.0 % lower; lower in 1 of 2" in text
    assert figures["lower_percent"] == pytest.approx(10.0)
    assert "brightness" not in text
    also = {name: row | {"refined_and_albedo": 2.5} for name, row in errors.items()}
    assert "2.50, 50.0 % lower" in detail_tables.photometric_words(also, 3)[0]


def test_photographs_without_a_face_are_left_out(monkeypatch, tmp_path):
    photographs = [tmp_path / "one.png", tmp_path / "other.png"]
    for path in photographs:
        cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))

    def no_face(*given):
        raise PhotoError("no-face", "There is no face.")

    monkeypatch.setattr(detail_fitted, "unwrapped_photograph", no_face)
    method = SimpleNamespace(layout=None)
    assert detail_fitted.photometric_people(method, photographs, DetailRenderingSettings()) == {}
    with pytest.raises(UsageError, match="None of the photographs shows a face"):
        detail_tables.photometric_table(method, photographs)


# Pictures and time ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def method(model):
    torch.manual_seed(0)
    network = AttributeDetailNetwork(width=4, levels=3, embedding=4, regions=3)
    with torch.no_grad():
        for values in network.filters.parameters():
            values.mul_(30.0)  # an untrained network makes next to no detail
    return AttributeDetail(network, layout_of(model, SMALL))


def test_a_row_of_the_sheet_has_seven_pictures(model, known, method, monkeypatch):
    monkeypatch.setattr(detail_pictures, "TILE", 72)
    monkeypatch.setattr(detail_pictures, "MAP_SIZE", 2 * SMALL)
    face, _ = unwrapped_sample(known.sample, model, method.layout)
    reliefs, shade = [], detail_pictures.RelitHead.shade
    monkeypatch.setattr(
        detail_pictures.RelitHead, "shade", lambda self, relief=None: reliefs.append(relief) or shade(self, relief)
    )
    row = detail_pictures.row_of(method, head_of(model, known), face, known.sample.image)
    assert row.shape == (72, 7 * 72, 3)
    photograph, coarse, refined, regions, *others = np.split(row.astype(int), 7, axis=1)
    assert np.abs(photograph - coarse).mean() > 10
    differs = np.abs(refined - coarse).max(axis=2)
    corners = differs[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert differs.max() > 3 and not corners.any()
    coloured = np.ptp(regions, axis=2) > 40
    assert 0.1 < coloured.mean() < 0.9 and not (np.ptp(coarse, axis=2) > 40).any()
    maps = method.maps(model, [face], model.key_offsets(face.neutral), 2 * SMALL)
    shown = [maps.photo, *(maps.groups[name] for name in ("brows_up", "smile", "nose_sneer"))]
    assert all(np.allclose(a, b) for a, b in zip([r for r in reliefs if r is not None], shown, strict=True))
    assert not np.allclose(shown[1], shown[2], atol=1e-6)
    for first, second in zip(others, others[1:], strict=False):
        assert np.abs(first - second).max() > 20


def test_relief_shows_in_the_light_from_the_side(model, known):
    head, layout = head_of(model, known), layout_of(model, TEXTURE)
    camera = known.sample.camera.resized(256, 256)
    relit = detail_pictures.RelitHead(head, layout, known.face.neutral, camera)
    flat = relit.shade()
    assert np.isnan(flat[~relit.hit]).all() and np.isfinite(flat[relit.hit]).all()
    assert np.allclose(relit.shade(np.zeros((TEXTURE, TEXTURE), np.float32))[relit.hit], flat[relit.hit], atol=1e-6)
    across = np.arange(TEXTURE)[None].repeat(TEXTURE, axis=0) * layout.millimetres_per_texel / 1000
    right, left = (relit.shade((by * across).astype(np.float32)) for by in (0.3, -0.3))
    under = detail_fitted.at_pixels(relit.seen, layout.allowed.numpy()[..., None])[..., 0] > 0.95
    # the texture's columns run to the picture's right: what rises that way faces the lamp on the left
    assert np.nanmedian((right - flat)[under]) > 0.02 and np.nanmedian((left - flat)[under]) < -0.02


def test_a_sheet_is_not_larger_than_it_may_be(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    sheet.write(tmp_path / "free.jpg", [noise])
    sheet.write(tmp_path / "small.jpg", [noise], 20_000)
    assert (tmp_path / "small.jpg").stat().st_size <= 20_000 < (tmp_path / "free.jpg").stat().st_size
    sheet.write(tmp_path / "lossless.png", [noise], 20_000)
    assert np.array_equal(cv2.imread(str(tmp_path / "lossless.png"))[..., ::-1], noise)


def test_the_time_of_maps_is_that_of_all_steps(model, known, method):
    picture = Photograph(Path("one.png"), known.sample.image, None, [])
    seconds = detail_bench.time_maps(method, head_of(model, known), picture, SMALL, 1)
    *steps, whole = seconds
    assert whole == detail_bench.ALL and min(seconds.values()) > 0
    assert "attributes and 10 maps of 64 texels" in steps
    assert seconds[whole] == pytest.approx(sum(seconds[step] for step in steps if step != "attributes"))


def test_the_bench_says_whether_the_goal_is_reached():
    seconds = {threads: {"writing the files": 0.5, detail_bench.ALL: 6.2 / threads} for threads in range(1, CORES + 1)}
    text = detail_bench.table({"load": 2.0, "seconds": seconds})
    assert "THE MACHINE IS BUSY" in text and row_starting(text, "  writing").split()[-2:] == ["0.50"] * 2
    assert "6.20    3.10   at most 3 with 2 threads: NOT reached" in text
    seconds[CORES][detail_bench.ALL] = 2.9
    text = detail_bench.table({"load": None, "seconds": seconds})
    assert text.endswith(": reached") and "BUSY" not in text


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_can_be_run():
    module = importlib.import_module(cli.COMMANDS["evaluate", "attribute-detail"][0])
    assert module is command


@pytest.mark.parametrize("words", [[], ["--table", "normals", "--bench"], ["--table", "normals", "--people", "0"]])
def test_what_is_to_be_measured_must_be_said(words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2 and "usage: evaluate attribute-detail" in capsys.readouterr().err


def test_what_is_missing_is_said_in_a_sentence(tmp_path):
    for words, sentence in (
        (["--table", "riggability", "--weights", "attribute-detail-none"], "no weights 'attribute-detail-none'"),
        (["--table", "photometric", "--data", str(tmp_path)], "There is no .*london. Give the folder of test data"),
        (["--table", "photometric", "--photos", str(tmp_path / "none.jpg")], "There is no photograph .*--photos"),
        (["--pictures", "sheet.jpg", "--photos", str(tmp_path)], "There are no photographs"),
    ):
        with pytest.raises(UsageError, match=sentence):
            command.main(words)


def test_photographs_are_files_and_what_lies_in_folders(tmp_path):
    for name in ("b.jpg", "a.png", "note.txt"):
        (tmp_path / name).write_bytes(b"")
    options = SimpleNamespace(photos=[tmp_path / "b.jpg", tmp_path], pictures=None, data=None)
    assert [path.name for path in command.chosen_photographs(options)] == ["b.jpg", "a.png", "b.jpg"]
    london = tmp_path / "photos/london"
    london.mkdir(parents=True)
    for name in command.SHOWN:
        (london / name).write_bytes(b"")
    options = SimpleNamespace(photos=None, pictures=Path("sheet.jpg"), data=tmp_path)
    assert [path.name for path in command.chosen_photographs(options)] == ["astronaut.png", *command.SHOWN]
