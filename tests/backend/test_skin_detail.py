"""From a fitted head and its photograph to the displacement maps beside the head."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend import pipeline, skin_detail
from backend.cli import DEMO_PHOTOGRAPH
from backend.displacement_file import read_displacement
from backend.errors import UsageError
from backend.fitting import FittedHead
from backend.options import ReconstructOptions
from backend.photographs import Photograph, load_photograph
from backend.result_folder import DisplacementFacts, ResultFolderError, displacement_file, read_result
from backend.wrinkle_groups import WRINKLE_GROUPS

SIZE = 64


@pytest.fixture(scope="module")
def photograph() -> Photograph:
    return load_photograph(DEMO_PHOTOGRAPH)


@pytest.fixture(scope="module")
def head(photograph) -> FittedHead:
    return pipeline.fit_photographs([photograph.image], [photograph.focal_35mm])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("result") / "head"
    pipeline.reconstruct([DEMO_PHOTOGRAPH], output, ReconstructOptions(texture_size=64, detail_size=SIZE))
    return output


def made(head, photograph, image):
    changed = Photograph(photograph.path, image, photograph.focal_35mm, [])
    return skin_detail.make_detail(head, [changed], pipeline.look_at_skin(head, [changed]), SIZE)


def test_every_map_of_the_contract_lies_beside_the_head(folder):
    facts = json.loads((folder / "head.json").read_text("utf-8"))
    said = facts["displacement"]
    assert said["size"] == SIZE and said["left_is"] == "greater_u" and set(said["groups"]) == set(WRINKLE_GROUPS)
    assert said["groups"]["brows_up"]["left"] == ["browInnerUp", "browOuterUpLeft"]
    files = [said["photo"], said["neutral"], *(group["file"] for group in said["groups"].values())]
    maps = [read_displacement(folder / file) for file in files]
    assert all(found.shape == (SIZE, SIZE) and np.isfinite(found).all() for found in maps)
    assert all(0 < np.abs(found).max() <= 0.003 for found in maps)  # metres
    assert len({found.tobytes() for found in maps}) == len(maps)
    assert facts["weights"]["attribute-detail"] and "making the skin detail" in facts["timings"]
    assert any("attribute-detail" in credit["what"] for credit in facts["licences"])


def test_the_result_is_read_back_with_its_maps(folder):
    read = read_result(folder).displacement
    assert read.size == SIZE and tuple(read.groups["pucker"]["right"]) == ("mouthPucker",)
    assert DisplacementFacts.from_json(read.as_json()) == read


def test_without_detail_nothing_of_it_stays_when_a_result_is_replaced(folder, tmp_path):
    output = tmp_path / "head"
    output.mkdir()
    for name in ("head.json", "head.npz"):
        (output / name).write_bytes((folder / name).read_bytes())
    (output / "displacement").mkdir()
    (output / displacement_file("neutral")).write_bytes(b"old")
    options = ReconstructOptions(texture_size=64, texture=False, detail=False, overwrite=True)
    pipeline.reconstruct([DEMO_PHOTOGRAPH], output, options)
    assert not (output / "displacement").exists() and read_result(output).displacement is None


def test_a_missing_map_is_named(folder, tmp_path):
    output = tmp_path / "head"
    output.mkdir()
    for path in folder.glob("head.*"):
        (output / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ResultFolderError, match=r"lacks displacement/photo\.exr"):
        read_result(output)


def test_a_photograph_that_shows_no_skin_gives_no_detail_and_says_so(head, photograph):
    found = made(head, photograph, np.full_like(photograph.image, 255))
    assert not any(one.any() for one in found.maps.by_name().values())
    assert found.warnings and all(word.endswith(".") for word in found.warnings)


def test_detail_is_where_the_photograph_shows_skin(head, photograph):
    found = made(head, photograph, photograph.image).maps.neutral
    image, posed = photograph.image.copy(), head.photographs[0]
    lips = posed.camera.project(head.model.landmarks68(posed.posed))[48:60]
    image[int(lips[:, 1].max()) + 3 :] = (10, 110, 30)  # a scarf
    wrapped = made(head, photograph, image).maps.neutral
    chin, above = slice(int(0.76 * SIZE), None), slice(0, SIZE // 2)
    assert np.abs(found[chin]).max() > 0 and np.abs(wrapped[chin]).max() < 0.1 * np.abs(found[chin]).max()
    assert np.abs(wrapped[above]).max() > 0


def test_other_face_models_have_no_detail():
    assert not pipeline.wants_detail(ReconstructOptions(face_model="flame2020"))
    assert not pipeline.wants_detail(ReconstructOptions(detail=False)) and pipeline.wants_detail(ReconstructOptions())


def test_a_request_chooses_the_detail():
    asked = ReconstructOptions.from_request({"detail": False, "detail_size": 2048})
    assert not asked.detail and asked.detail_size == 2048
    assert ReconstructOptions.from_request(asked.as_request()) == asked


@pytest.mark.parametrize("size", ["0", "1000", "100000"])
def test_a_size_that_cannot_be_is_refused_with_what_can(size):
    from backend.cli import checked_options, make_parser

    words = ["reconstruct", str(DEMO_PHOTOGRAPH), "--output", "nowhere", "--detail-size", size]
    with pytest.raises(UsageError, match="multiple of 64 from 64 to 4096"):
        checked_options(make_parser().parse_args(words))
