"""What a photograph shows of an open lid is not seen on the lid when it shuts."""

import numpy as np
import pytest

from backend import lid_texture
from backend.face_models import load_face_model
from backend.lid_rig import SIDES, SKIN
from backend.lid_texture import open_share, with_plain_lids
from backend.texture import TextureView, build_albedo
from tests.backend.test_texture import photograph

SIZE = 512
SKIN_COLOUR = np.array((180, 140, 120), np.uint8)
BROWS = 30


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


def in_texture(model, chosen):
    return lid_texture._in_texture(model, chosen.astype(np.float32)[:, None], SIZE)[..., 0]


def fold(model, nearest):
    """(V,) bool: the upper lids from a distance on, where lashes end and the fold lies."""
    result = np.zeros(len(model.mean), bool)
    for side in SIDES:
        eye = model.rig.eye(side)
        upper = eye.share[:, 1 : eye.outer].sum(axis=1) > 0.65
        result[eye.followers[(eye.kind == SKIN) & upper & (eye.distance > nearest) & (eye.distance < 0.006)]] = True
    return result


@pytest.fixture(scope="module")
def brows(model):
    return in_texture(model, model.masks["brows"]) > 0.5


@pytest.fixture(scope="module")
def texture(model, brows):
    """Skin whose lids are nearly black, and brows."""
    light = 1 - 0.8 * in_texture(model, fold(model, -1.0))[..., None]
    result = (SKIN_COLOUR * light).astype(np.uint8)
    result[brows] = BROWS
    return result


def darkness(texture, where):
    return (SKIN_COLOUR.astype(int) - texture[where]).max(axis=1)


@pytest.mark.parametrize(("keeps_lash_line", "from_m"), [(False, -1.0), (True, 0.003)])
def test_lids_become_skin_and_brows_stay(model, texture, keeps_lash_line, from_m):
    found = with_plain_lids(model, texture, model.rig, keeps_lash_line=keeps_lash_line)
    on_lid = in_texture(model, fold(model, from_m)) > 0.9
    assert on_lid.sum() > 100 and np.median(darkness(texture, on_lid)) > 120
    assert np.percentile(darkness(found, on_lid), 90) < 20
    changed = np.abs(found.astype(int) - texture).max(axis=2) > 3
    inside_brows = in_texture(model, model.masks["brows"]) > 0.98
    assert inside_brows.sum() > 500 and not (changed & inside_brows).any() and changed.mean() < 0.05


def test_a_lid_that_a_photograph_shows_shut_is_believed(model, texture):
    shut = model.key_offsets(model.mean).apply(model.mean, {"eyeBlinkLeft": 1.0})
    share = open_share(model, model.rig, [model.mean, shut])
    assert share["left"] == pytest.approx(0, abs=0.01) and share["right"] == pytest.approx(1, abs=0.01)
    found = with_plain_lids(model, texture, model.rig, share)
    changed = np.abs(found.astype(int) - texture).max(axis=2) > 3
    left = np.zeros(len(model.mean), bool)
    left[model.mean[:, 0] > 0] = True
    on_left = in_texture(model, left) > 0.5
    assert changed[~on_left].any() and not changed[on_left].any()


def test_the_texture_of_a_photograph_has_plain_lids(model, texture):
    view = photograph(model, model.mean, texture)
    found = build_albedo(model, [TextureView(model.mean, view.camera, view.image)], SIZE)
    on_lid = in_texture(model, fold(model, 0.003)) > 0.9
    x, y, _ = model.mean.T
    cheeks = in_texture(model, (np.abs(np.abs(x) - 0.035) < 0.01) & (np.abs(y + 0.03) < 0.01)) > 0.9
    assert found[on_lid].mean() > 0.8 * found[cheeks].mean()
