"""The albedo from photographs: known textures are rendered, photographed and found again."""

import cv2
import numpy as np
import pytest
import torch

from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from backend.rendering.shading import HarmonicLight, TextureMap, render_head
from backend.rendering.uv_baking import texel_map
from backend.texture import TextureView, build_albedo
from backend.texture_evidence import Evidence, HeadRegions
from backend.texture_parts import SCLERA, iris_colour, paint_eye, paint_teeth

SIZE, PHOTO = 512, 640
MAGENTA = np.array([255, 0, 255])
SKIN = np.array([205, 160, 140])


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def head(model):
    return model.neutral(np.zeros(model.identity_size, np.float32))


@pytest.fixture(scope="module")
def skin_texels(model):
    """(N,) texels of the skin and (N, 3) their places on the mean head."""
    texels = texel_map(model.topology.uv, model.topology.triangle_uv, SIZE)
    regions = HeadRegions.of(model)
    rows = regions.triangle_is_skin[texels.triangle]
    return texels.texel[rows], texels.interpolate(model.mean, model.topology.triangles)[rows], texels.triangle[rows]


@pytest.fixture(scope="module")
def truth(model):
    """A skin with blotches and moles, painted from the place on the head: symmetric in tone, not in its moles."""
    texels = texel_map(model.topology.uv, model.topology.triangle_uv, SIZE)
    place = texels.interpolate(model.mean, model.topology.triangles) * 1000
    tone = 1 + 0.05 * np.sin(place[:, 0] / 4) * np.sin(place[:, 1] / 5 + 1) + 0.03 * np.sin(place[:, 2] / 3)
    colours = SKIN * tone[:, None]
    for x, y in ((25, -30), (-32, -45), (5, 40), (-20, 30)):
        colours[np.hypot(place[:, 0] - x, place[:, 1] - y) < 3] *= 0.6
    part = np.repeat(np.arange(len(model.topology.part_names)), np.diff(model.topology.part_faces, axis=1).ravel())
    part = part[model.topology.triangle_face[texels.triangle]]
    for number, name in enumerate(model.topology.part_names):
        if name != "skin":
            colours[part == number] = (235, 230, 225) if "eye" in name or "teeth" in name else (150, 70, 70)
    return texels.image(np.clip(colours, 0, 255).astype(np.uint8))


def photograph(model, head, texture, yaw=0.0, light=None, exposure=1.0, backdrop=MAGENTA):
    camera = Camera.orbit(yaw, 0.05, 0.8, PHOTO, focal_35mm=85, target=(0, -0.02, -0.04))
    mapped = TextureMap(texture, model.topology.uv, model.topology.triangle_uv)
    lashes = model.topology.part("lashes")
    drawn = np.ones(len(model.topology.triangles), bool)
    face = model.topology.triangle_face
    drawn[(face >= lashes.start) & (face < lashes.stop)] = False
    mapped.triangle_uv = mapped.triangle_uv[drawn]
    picture = render_head(
        head, model.topology.triangles[drawn], camera, texture=mapped, light=light or HarmonicLight.ambient(),
        supersampling=2,
    )  # fmt: skip
    alpha = picture[..., 3:] / 255.0
    image = np.clip(picture[..., :3] * exposure, 0, 255) * alpha + backdrop * (1 - alpha)
    return TextureView(head, camera, image.astype(np.uint8))


def well_seen(model, head, views, skin_texels):
    """(N,) bool: skin texels of the front of the face, seen well by one of the views."""
    seen = np.zeros(len(skin_texels[0]), bool)
    texels = texel_map(model.topology.uv, model.topology.triangle_uv, SIZE)
    rows = np.isin(texels.texel, skin_texels[0])
    for view in views:
        one = Evidence(model, HeadRegions.of(model), view)
        place = texels.interpolate(one.vertices, model.topology.triangles)[rows]
        normals = texels.interpolate(one.normals, model.topology.triangles)[rows]
        seen |= one.shown(place, normals)[0] > 0.5
    return seen


def psnr(found, wanted):
    return 10 * np.log10(255**2 / np.mean((found.astype(float) - wanted.astype(float)) ** 2))


@pytest.fixture(scope="module")
def from_one(model, head, truth):
    return build_albedo(model, [photograph(model, head, truth)], SIZE)


def three_views(model, head, truth):
    return [photograph(model, head, truth, yaw, exposure=e) for yaw, e in ((0, 1.0), (0.7, 0.85), (-0.7, 0.92))]


@pytest.fixture(scope="module")
def from_three(model, head, truth):
    return build_albedo(model, three_views(model, head, truth), SIZE)


def test_one_photograph_gives_the_known_texture_back_where_it_shows_it(model, head, truth, from_one, skin_texels):
    seen = well_seen(model, head, [photograph(model, head, truth)], skin_texels)
    assert seen.mean() > 0.15
    where = skin_texels[0][seen]
    assert psnr(from_one.reshape(-1, 3)[where], truth.reshape(-1, 3)[where]) > 36


def test_three_photographs_of_unlike_exposure_give_the_known_texture_back(model, head, truth, from_three, skin_texels):
    seen = well_seen(model, head, three_views(model, head, truth), skin_texels)
    found, wanted = from_three.reshape(-1, 3)[skin_texels[0][seen]], truth.reshape(-1, 3)[skin_texels[0][seen]]
    tone = np.median(wanted / np.maximum(found, 1.0), axis=0)  # which exposure is the right one, nothing says
    assert np.abs(np.log(tone)).max() < 0.2
    assert psnr(np.clip(found * tone, 0, 255), wanted) > 36


def test_photographs_meet_without_an_edge(model, truth, from_three, skin_texels):
    """Along the mesh: neighbouring texels differ as they do in the truth, also where one photograph takes over."""
    covered = np.zeros((SIZE, SIZE), bool)
    covered.reshape(-1)[skin_texels[0]] = True
    both = cv2.erode(covered.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)

    def steps(image):
        smooth = cv2.GaussianBlur(image.astype(np.float32).mean(axis=2), (0, 0), 1.5)
        return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))[both]

    assert np.quantile(steps(from_three), 0.995) < 1.35 * np.quantile(steps(truth), 0.995)


@pytest.mark.parametrize("name", ["from_one", "from_three"])
def test_no_background_is_smeared_onto_the_skin(name, request, skin_texels):
    colours = request.getfixturevalue(name).reshape(-1, 3)[skin_texels[0]].astype(int)
    magenta = np.minimum(colours[:, 0], colours[:, 2]) - colours[:, 1]
    assert magenta.max() < 25  # the skin itself has blue below green
    assert (colours.min(axis=1) > 30).all()


def test_unseen_skin_has_the_tone_of_the_seen_and_is_not_flat(from_one, skin_texels):
    texel, place, _ = skin_texels
    colours = from_one.reshape(-1, 3)[texel].astype(float)
    back = colours[place[:, 2] < -0.10]
    assert np.abs(np.log(back.mean(axis=0) / SKIN)).max() < 0.12
    assert 0.5 < back.mean(axis=1).std() < 15


def test_hair_over_the_forehead_is_not_painted_on(model, head, truth, skin_texels):
    view = photograph(model, head, truth, backdrop=np.array([90, 120, 150]))
    places = view.camera.project(head)
    fringe = (np.array([0.0, 0.055, 0.03]), np.array([0.0, 0.13, 0.0]))
    low, high = (view.camera.project(point)[1] for point in fringe)
    left, right = places[:, 0].min() - 12, places[:, 0].max() + 12
    image = view.image.copy()
    top = max(0, int(high) - 20)
    hair = np.random.default_rng(0).integers(25, 60, (int(low) - top, int(right) - int(left), 1))
    image[top : int(low), int(left) : int(right)] = hair * np.array([1.0, 0.8, 0.6])
    texture = build_albedo(model, [TextureView(head, view.camera, image)], SIZE)
    texel, place, _ = skin_texels
    colours = texture.reshape(-1, 3)[texel[place[:, 1] > 0.045]]
    assert np.quantile(colours[:, 0], 0.01) > 140


def test_light_from_one_side_is_evened_out(model, head, truth, from_one, skin_texels):
    light = HarmonicLight.directional((1.0, 0.3, 0.6), 0.8, 0.45)
    view = photograph(model, head, truth, light=light)
    texel, place, _ = skin_texels
    found = build_albedo(model, [view], SIZE).reshape(-1, 3)[texel].astype(float).mean(axis=1)
    cheek = (np.abs(np.abs(place[:, 0]) - 0.04) < 0.01) & (np.abs(place[:, 1] + 0.03) < 0.015) & (place[:, 2] > -0.03)
    left, right = found[cheek & (place[:, 0] > 0)].mean(), found[cheek & (place[:, 0] < 0)].mean()
    points = view.camera.project(np.array([[0.045, -0.03, 0.0], [-0.045, -0.03, 0.0]]))
    lit = [view.image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].mean() for x, y in points]
    assert lit[0] > 1.2 * lit[1]  # so the photograph does show the light
    assert abs(np.log(left / right)) < 0.35 * np.log(lit[0] / lit[1])


def test_a_point_seen_only_on_the_other_side_is_mirrored(model, head, truth, skin_texels):
    """From the subject's left, the right cheek takes its detail from the left one: the left's mole appears there."""
    texture = build_albedo(model, [photograph(model, head, truth, 1.2)], SIZE)
    texel, place, _ = skin_texels
    millimetres, grey = place * 1000, texture.reshape(-1, 3)[texel].astype(float).mean(axis=1)
    distance = np.hypot(millimetres[:, 0] + 25, millimetres[:, 1] + 30)
    front = millimetres[:, 2] > -20
    assert grey[front & (distance < 2)].mean() < 0.85 * grey[front & (distance > 5) & (distance < 9)].mean()


def test_without_photographs_the_skin_is_plain_and_lips_are_redder(model, skin_texels):
    texture = build_albedo(model, [], SIZE)
    texel, place, triangle = skin_texels
    colours = texture.reshape(-1, 3)[texel].astype(float)
    lips = model.masks["lips"][model.topology.triangles[triangle]].all(axis=1)
    back = place[:, 2] < -0.10
    assert texture.shape == (SIZE, SIZE, 3) and texture.dtype == np.uint8
    redness = colours[:, 0] / colours[:, 1]
    assert redness[lips].mean() > redness[back].mean() + 0.15
    assert np.abs(colours[back].mean(axis=0) - [204, 158, 135]).max() < 8


def test_a_pixel_marked_unusable_gives_nothing(model, head, truth, skin_texels):
    view = photograph(model, head, truth)
    image = view.image.copy()
    x, y = view.camera.project(np.array([0.03, -0.045, 0.0]))
    spot = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(spot, (int(x), int(y)), 18, 1, -1)
    image[spot > 0] = (150, 110, 95)  # nearly skin
    wide = cv2.dilate(spot, np.ones((9, 9), np.uint8))
    texture = build_albedo(model, [TextureView(head, view.camera, image, wide == 0)], SIZE)
    texel, place, _ = skin_texels
    near = (np.hypot(place[:, 0] - 0.03, place[:, 1] + 0.045) < 0.008) & (place[:, 2] > -0.03)
    assert texture.reshape(-1, 3)[texel[near]].mean(axis=0)[0] > 180


def test_the_iris_takes_its_colour_from_the_photograph_and_brown_without_one(model, head, truth):
    view = photograph(model, head, truth)
    image = view.image.copy()
    for name in ("eyeball_left", "eyeball_right"):
        vertices = head[model.topology.part_vertices(name)]
        centre = vertices.mean(axis=0) * [1, 1, 0] + [0, 0, vertices[:, 2].max()]
        x, y = view.camera.project(centre)
        radius = 0.0058 * view.camera.fx / view.camera.to_camera(centre)[2]
        eyeball = np.zeros(image.shape[:2], np.uint8)
        cv2.circle(eyeball, (round(x), round(y)), round(radius), 1, -1)
        evidence = Evidence(model, HeadRegions.of(model), TextureView(head, view.camera, image))
        image[(eyeball > 0) & evidence_shows(evidence, name, image.shape)] = (70, 105, 150)
    found = iris_colour(model, [Evidence(model, HeadRegions.of(model), TextureView(head, view.camera, image))])
    plain = iris_colour(model, [])
    assert found[2] > 1.3 * found[0] and plain[0] > 1.3 * plain[2]


def evidence_shows(evidence, part, shape):
    """(H, W) bool of the photograph: pixels where a part of the head is in front."""
    rows = evidence.model.topology.part(part)
    face = evidence.model.topology.triangle_face[evidence.triangle]
    shown = np.zeros(shape[:2], bool)
    x, y = (
        round(evidence.view.camera.cx - evidence.crop_camera.cx),
        round(evidence.view.camera.cy - evidence.crop_camera.cy),
    )
    height, width = evidence.crop.shape[:2]
    inside = (evidence.covered & (face >= rows.start) & (face < rows.stop)).astype(np.uint8)
    shown[y : y + height, x : x + width] = cv2.resize(inside, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return shown


def test_an_eye_has_a_black_pupil_a_coloured_iris_with_a_dark_rim_and_a_light_sclera():
    angle = np.linspace(0, np.pi, 400)
    ball = 0.012 * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=1)
    iris = np.array([0.3, 0.4, 0.6], np.float32)
    colours = paint_eye(ball, np.zeros(3), 0.012, iris, np.random.default_rng(0))
    radius = np.where(ball[:, 2] > 0, ball[:, 0], 1) * 1000
    assert colours[radius < 1.5].max() < 0.1
    middle = colours[(radius > 2.8) & (radius < 4.4)].mean(axis=0)
    assert middle[2] > middle[0] + 0.1 and colours[(radius > 5.2) & (radius < 5.6)].mean() < 0.75 * middle.mean()
    assert np.abs(colours[(radius > 7) & (radius < 8)] - SCLERA).max() < 0.1


def test_teeth_have_gaps_and_gum_above_the_crowns():
    angle = np.linspace(-1.2, 1.2, 25)
    arch = np.stack([0.025 * np.sin(angle), 0 * angle, 0.025 * np.cos(angle)], axis=1)
    vertices = np.concatenate([arch, arch + [0, 0.016, 0]])
    row = np.stack([np.linspace(-0.012, 0.012, 200), np.full(200, 0.004), np.zeros(200)], axis=1)
    row[:, 2] = np.sqrt(0.025**2 - row[:, 0] ** 2)
    enamel = paint_teeth(row, vertices, "upper")
    assert enamel[:, 1].max() > 0.75 and enamel[:, 1].min() < 0.6
    gaps = (np.diff((enamel[:, 1] < 0.65).astype(int)) == 1).sum()
    assert gaps in (3, 4)  # between the incisors, and their outer sides
    gum = paint_teeth(row + [0, 0.0105, 0], vertices, "upper")
    assert (gum[:, 0] > gum[:, 1] + 0.2).all()


def test_a_texture_of_almost_no_texels_is_refused(model):
    with pytest.raises(ValueError, match="multiple of 64"):
        build_albedo(model, [], 16)


def test_the_same_photographs_give_the_same_texture(model, head, truth, from_one):
    torch.manual_seed(99)
    assert np.array_equal(build_albedo(model, [photograph(model, head, truth)], SIZE), from_one)


def test_evidence_that_was_made_before_gives_the_same_texture(model, head, truth, from_one):
    evidence = Evidence(model, HeadRegions.of(model), photograph(model, head, truth))
    assert np.array_equal(build_albedo(model, [evidence], SIZE), from_one)
