"""Faces are found where they are, at any size and place, and nothing else is taken for one."""

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.detection import (
    MINIMUM_FACE_WIDTH_PX,
    detect_faces,
    face_detector,
    find_face,
    nearby_regions,
    region_around,
)
from backend.errors import PhotoError, UsageError
from backend.face_mesh_points import (
    LEFT_EYE_OUTER_CORNER,
    LEFT_IRIS_CENTRE,
    LEFT_IRIS_RIM,
    MIRROR,
    RIGHT_EYE_OUTER_CORNER,
    RIGHT_IRIS_CENTRE,
)
from backend.mediapipe_networks import FaceMeshNetwork
from backend.picture_regions import Picture, Region, search_windows

ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


@pytest.fixture(scope="module")
def astronaut(data_folder) -> np.ndarray:
    return read(data_folder / "photos" / "public_domain" / "astronaut.png")


@pytest.fixture(scope="module")
def portrait(data_folder) -> np.ndarray:
    return read(data_folder / "photos" / "london" / "001_neutral.jpg")


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[LEFT_EYE_OUTER_CORNER] - points[RIGHT_EYE_OUTER_CORNER]))


def moved(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture under a map of continuous pixel coordinates, (2, 3)."""
    shift = matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, np.column_stack([matrix[:, :2], shift]), size, borderMode=cv2.BORDER_REPLICATE)


def drawn_cat() -> np.ndarray:
    cat, fur, line = np.full((700, 700, 3), 243, np.uint8), (200, 150, 90), (30, 30, 30)
    for side in (-1, 1):
        ear = np.array([[350 + side * 190, 330], [350 + side * 170, 90], [350 + side * 50, 210]], np.int32)
        cv2.fillPoly(cat, [ear], fur)
        cv2.polylines(cat, [ear], True, line, 5)
    cv2.ellipse(cat, (350, 370), (210, 185), 0, 0, 360, fur, -1)
    cv2.ellipse(cat, (350, 370), (210, 185), 0, 0, 360, line, 5)
    for side in (-1, 1):
        eye = (350 + side * 85, 330)
        cv2.ellipse(cat, eye, (42, 36), 0, 0, 360, (150, 210, 90), -1)
        cv2.ellipse(cat, eye, (42, 36), 0, 0, 360, line, 4)
        cv2.ellipse(cat, eye, (10, 32), 0, 0, 360, (0, 0, 0), -1)
        for slope in (-1, 0, 1):
            cv2.line(cat, (350 + side * 50, 430 + slope * 12), (350 + side * 240, 420 + slope * 40), line, 3)
        cv2.ellipse(cat, (350 + side * 35, 450), (35, 28), 0, 0, 180, line, 5)
    cv2.fillPoly(cat, [np.array([[325, 400], [375, 400], [350, 432]], np.int32)], (230, 120, 130))
    return cat


def drawn_smiley() -> np.ndarray:
    smiley = np.full((500, 500, 3), 255, np.uint8)
    cv2.circle(smiley, (250, 250), 200, (255, 220, 60), -1)
    for x in (180, 320):
        cv2.circle(smiley, (x, 190), 28, (0, 0, 0), -1)
    cv2.ellipse(smiley, (250, 280), (110, 90), 0, 0, 180, (0, 0, 0), 10)
    return smiley


def landscape() -> np.ndarray:
    picture = np.zeros((600, 1000, 3), np.uint8)
    picture[:350] = np.linspace([90, 150, 230], [200, 220, 250], 350)[:, None]
    cv2.circle(picture, (780, 110), 45, (255, 240, 180), -1)
    x = np.arange(1000)
    for k, colour in enumerate([(110, 130, 150), (80, 120, 80), (50, 100, 50)]):
        y = 330 + 80 * k + 45 * np.sin(x / (70 + 40 * k) + k) + 15 * np.sin(x / 23.0 + k)
        outline = np.concatenate([np.stack([x, y], 1), [[1000, 600], [0, 600]]])
        cv2.fillPoly(picture, [outline.astype(np.int32)], colour)
    noise = np.random.default_rng(0).normal(0, 8, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def back_of_a_head() -> np.ndarray:
    generator = np.random.default_rng(1)
    picture = np.full((800, 700, 3), (190, 200, 210), np.uint8)
    cv2.ellipse(picture, (350, 800), (300, 220), 0, 0, 360, (60, 70, 120), -1)
    cv2.rectangle(picture, (290, 520), (410, 640), (205, 160, 135), -1)
    cv2.ellipse(picture, (350, 360), (165, 215), 0, 0, 360, (70, 45, 30), -1)
    for _ in range(900):
        x, y = (generator.normal((350, 360), (70, 90))).astype(int).tolist()
        tone = tuple(int(value) for value in np.array([70, 45, 30]) + generator.normal(0, 14, 3))
        cv2.line(picture, (x, y), (x + int(generator.normal(0, 6)), y + 40), tone, 2)
    for side in (-1, 1):
        cv2.ellipse(picture, (350 + side * 170, 390), (18, 40), 0, 0, 360, (200, 150, 125), -1)
    return cv2.GaussianBlur(picture, (5, 5), 0)


def test_mirrored_points_are_paired():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(478))
    assert MIRROR[RIGHT_EYE_OUTER_CORNER] == LEFT_EYE_OUTER_CORNER
    assert MIRROR[RIGHT_IRIS_CENTRE] == LEFT_IRIS_CENTRE


def test_region_coordinates_go_there_and_back():
    region = Region(np.array([40.0, 30.0]), 20.0, angle=0.3, mirrored=True)
    points = np.random.default_rng(0).uniform(0, 100, (9, 2))
    np.testing.assert_allclose(region.to_picture(region.to_region(points)), points, atol=1e-9)
    np.testing.assert_allclose(region.to_picture(np.array([[0.5, 0.5]])), [[40, 30]])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size", [48, 300, 1400])
def test_a_crop_shows_what_its_region_says(size, mirrored):
    # A picture whose colour tells the place: at every crop pixel it must be the place that the region gives.
    height, width = 1700, 1900
    y, x = np.mgrid[0:height, 0:width] + 0.5
    image = np.stack([x / width * 255, y / height * 255, np.zeros_like(x)], -1).round().astype(np.uint8)
    region = Region(np.array([950.0, 860.0]), float(size), angle=0.2, mirrored=mirrored)
    crop = Picture(image).crop(region, 64)
    rows, columns = np.mgrid[0:64, 0:64]
    places = region.to_picture(np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1) / 64)
    wanted = places / [width, height] * 255
    error = crop.reshape(-1, 3)[:, :2] - wanted
    assert np.abs(error.mean(axis=0)).max() < 0.75  # rounded up at every halving
    assert np.abs(error - error.mean(axis=0)).max() < 1.25  # half a crop pixel would be 1.5 for the largest region


def test_search_windows_overlap_and_cover_the_picture():
    levels = search_windows(2400, 1600)
    assert len(levels) == 3
    for tiles, level in zip((2, 4), levels[1:], strict=True):
        side = 2400 / tiles
        for x, y in [(0, 0), (2400, 1600), (1200, 800), (601, 799)]:
            assert any(np.abs(window.centre - (x, y)).max() <= side / 2 + 1e-6 for window in level)
        columns = np.unique([window.centre[0] for window in level])
        assert np.diff(columns).max() <= side / 2 + 1e-6


def test_the_region_of_a_turned_face_turns_along(astronaut):
    points = detect_faces(astronaut)[0].points
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    straight, turned = region_around(points), region_around(points @ turn.T)
    assert turned.angle - straight.angle == pytest.approx(0.4)
    assert turned.size == pytest.approx(straight.size)
    np.testing.assert_allclose(turned.centre, turn @ straight.centre)


def test_the_astronaut_is_found_with_her_irises(astronaut):
    (face,) = detect_faces(astronaut)
    assert face.points.shape == (478, 2) and face.depth.shape == (478,)
    assert face.detector == face_detector().name == "mediapipe-0.10.9-face-mesh"
    assert face.score > 0.99 and face.spread < 0.03
    left, top, width, height = face.box
    assert (left, top) == pytest.approx((178, 67), abs=4) and (width, height) == pytest.approx((93, 110), abs=4)
    # Right and left are the subject's own: her right eye is on the picture's left.
    assert face.points[RIGHT_EYE_OUTER_CORNER, 0] < face.points[LEFT_EYE_OUTER_CORNER, 0]
    rim = face.points[list(LEFT_IRIS_RIM)].mean(axis=0)
    assert np.linalg.norm(rim - face.points[LEFT_IRIS_CENTRE]) < 1.0
    assert face.depth[1] < face.depth[LEFT_EYE_OUTER_CORNER]  # the nose tip is nearer


def test_every_portrait_is_found_once(data_folder):
    paths = sorted((data_folder / "photos" / "london").glob("*.jpg"))[::4]
    paths += sorted((data_folder / "photos" / "lisa").glob("*.jpg"))
    paths += sorted((data_folder / "photos" / "four_views_nc").glob("*.jpg"))
    assert paths
    for path in paths:
        faces = detect_faces(read(path))
        assert len(faces) == 1, path.name
        assert faces[0].box[2] > 0.15 * read(path).shape[1], path.name


def test_two_people_are_both_found_largest_first(data_folder):
    image = read(data_folder / "photos" / "public_domain" / "two_people.jpg")
    faces = detect_faces(image, wanted=2)
    assert len(faces) == 2
    assert faces[0].box[2:].prod() >= faces[1].box[2:].prod()
    second = find_face(image, "two_people.jpg", 2)
    np.testing.assert_array_equal(second.points, faces[1].points)
    with pytest.raises(UsageError) as caught:
        find_face(image, "two_people.jpg", 3)
    assert caught.value.code == "no-such-face" and "2 faces" in caught.value.sentence


@pytest.mark.parametrize("corner", [(40, 60), (2050, 1240)])
def test_a_small_portrait_in_a_large_picture_is_found(portrait, corner):
    large = np.full((1600, 2400, 3), (196, 202, 208), np.uint8)
    left, top = corner
    large[top : top + 300, left : left + 300] = cv2.resize(portrait, (300, 300), interpolation=cv2.INTER_AREA)
    (face,) = detect_faces(large)
    own = detect_faces(portrait)[0].points / 3 + corner
    assert np.linalg.norm(face.points - own, axis=1).mean() < 0.02 * eye_distance(own)


def test_blurred_faces_that_fill_the_picture_are_found(data_folder):
    paths = sorted((data_folder / "eyes" / "cew_research_only").glob("*/*.jpg"))[::10]
    if not paths:
        pytest.skip("the CEW crops are not here")
    missed = [path.name for path in paths if not detect_faces(read(path))]
    assert missed == []


def test_the_answer_is_the_same_every_time(portrait):
    first, second = detect_faces(portrait)[0], detect_faces(portrait)[0]
    np.testing.assert_array_equal(first.points, second.points)


def test_landmarks_follow_when_the_picture_is_moved_turned_and_reduced(portrait):
    own = detect_faces(portrait)[0].points
    generator = np.random.default_rng(3)
    for _ in range(4):
        angle, scale = generator.uniform(-0.17, 0.17), generator.uniform(0.5, 0.95)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([450, 450]) - linear @ [450, 450] + generator.uniform(-20, 20, 2)
        image = moved(cv2.GaussianBlur(portrait, (0, 0), 0.4 / scale), np.column_stack([linear, shift]), (900, 900))
        points = (detect_faces(image)[0].points - shift) @ np.linalg.inv(linear).T
        error = np.sqrt(np.square(points - own).sum(axis=1).mean()) / eye_distance(own)
        assert error < 0.003


def test_the_mirror_image_has_the_mirrored_landmarks(portrait):
    own = detect_faces(portrait)[0].points
    mirrored = detect_faces(portrait[:, ::-1])[0].points[MIRROR]
    mirrored[:, 0] = portrait.shape[1] - mirrored[:, 0]
    assert np.linalg.norm(mirrored - own, axis=1).mean() < 0.003 * eye_distance(own)


def test_several_looks_disagree_less_than_single_ones(portrait):
    network, picture = FaceMeshNetwork(), Picture(portrait)
    region = region_around(detect_faces(portrait)[0].points)
    assert len(nearby_regions(region)) == 8

    def look(where: Region) -> np.ndarray:
        points, _ = network(picture.crop(where, 192))
        return where.to_picture((points[MIRROR] if where.mirrored else points)[:, :2] / 192)

    def noise(points: list[np.ndarray]) -> float:
        return float(np.std(points, axis=0).mean())

    shifted = [
        Region(region.centre + offset, region.size * s)
        for offset, s in [((4, 2), 1.02), ((-3, 5), 0.97), ((1, -4), 1.0)]
    ]
    one = noise([look(where) for where in shifted])
    many = noise([np.mean([look(near) for near in nearby_regions(where)], axis=0) for where in shifted])
    assert many < 0.8 * one


@pytest.mark.parametrize(
    "picture",
    [landscape, drawn_cat, drawn_smiley, back_of_a_head, lambda: np.full((300, 400, 3), 128, np.uint8)],
    ids=["landscape", "cat", "smiley", "back of a head", "grey"],
)
def test_what_is_no_face_is_not_taken_for_one(picture):
    with pytest.raises(PhotoError) as caught:
        find_face(picture(), "holiday.jpg")
    assert caught.value.code == "no-face" and caught.value.exit_code == 3
    assert "holiday.jpg" in caught.value.sentence and caught.value.fix is not None


def test_a_photographed_cat_and_noise_are_no_faces():
    skimage_data = pytest.importorskip("skimage.data")
    assert detect_faces(np.ascontiguousarray(skimage_data.chelsea())) == []
    assert detect_faces(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)) == []


def test_a_face_of_few_pixels_is_refused_with_its_width(portrait):
    small = cv2.resize(portrait, (90, 90), interpolation=cv2.INTER_AREA)
    with pytest.raises(PhotoError) as caught:
        find_face(small, "small.jpg")
    assert caught.value.code == "face-too-small"
    assert f"at least {MINIMUM_FACE_WIDTH_PX}" in caught.value.sentence
    enough = cv2.resize(portrait, (150, 150), interpolation=cv2.INTER_AREA)
    assert find_face(enough, "enough.jpg").box[2] >= MINIMUM_FACE_WIDTH_PX


def test_starting_is_quick_quiet_and_spares_what_is_not_needed():
    script = (
        "import sys, time; start = time.perf_counter()\n"
        "from backend.detection import face_detector\n"
        "face_detector()\n"
        "print(time.perf_counter() - start, 'matplotlib' in sys.modules, 'sounddevice' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, *needless = result.stdout.split()
    assert needless == ["False", "False"]
    assert result.stderr == ""
    assert float(seconds) < 10  # 0.5 s on an idle machine


def test_what_the_networks_say_goes_to_the_log(caplog, capfd):
    with caplog.at_level(logging.DEBUG, logger="backend.mediapipe_networks"):
        FaceMeshNetwork()
    assert capfd.readouterr().err == ""
