"""The drawing of what was measured while training."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from backend.errors import UsageError
from training import curves
from training.curves import POINTS, Curve, draw, read_curves, thinned

SVG = "{http://www.w3.org/2000/svg}"


def written(folder: Path, rows: list[str]) -> Path:
    folder.mkdir()
    (folder / "metrics.csv").write_text("\n".join(["step,name,value", *rows]) + "\n")
    return folder


def test_a_drawing_has_a_diagram_for_each_name_and_a_line_for_each_run(tmp_path: Path):
    rows = [f"{step},train/photo,{10 / (step + 1)}" for step in range(50)]
    one = written(tmp_path / "one", [*rows, "9,validation/closure_error,0.2", "9,train/learning_rate,1"])
    other = written(tmp_path / "other", rows[:20])
    assert curves.main([str(one), str(other), "--output", str(tmp_path / "new" / "c.svg")]) == 0
    drawing = ElementTree.parse(tmp_path / "new" / "c.svg").getroot()
    titles = [text.text for text in drawing.iter(f"{SVG}text") if text.get("font-weight")]
    assert titles == ["train/photo, logarithmic", "validation/closure_error"]
    assert len(list(drawing.iter(f"{SVG}polyline"))) == 3
    assert {"— one", "— other"} <= {text.text for text in drawing.iter(f"{SVG}text")}


def test_lines_lie_where_the_values_are():
    drawing = ElementTree.fromstring(draw({"run": {"loss": Curve(np.array([0, 5, 10]), np.array([4.0, 3.0, 2.0]))}}))
    points = [tuple(map(float, point.split(","))) for point in drawing.find(f".//{SVG}polyline").get("points").split()]
    assert points == [(60, 26), (164, 96), (268, 166)]  # from the upper left corner of the diagram to the lower right


def test_long_curves_are_thinned_to_means():
    steps = np.arange(1200.0)
    curve = thinned(np.stack([steps, steps % 2], axis=1))
    assert len(curve.values) == POINTS and np.allclose(curve.values, 0.5)
    assert curve.steps[0] == pytest.approx(4.5)


def test_values_that_are_no_numbers_and_cut_lines_are_left_out(tmp_path: Path):
    run = written(tmp_path / "run", ["0,train/photo,1.0", "1,train/photo,nan", "2,train/ph"])
    assert read_curves(run)["train/photo"].values.tolist() == [1.0]


def test_wrong_words_are_told(tmp_path: Path):
    with pytest.raises(UsageError, match="no metrics.csv"):
        read_curves(tmp_path)
    run = read_curves(written(tmp_path / "run", ["0,train/photo,1.0"]))
    with pytest.raises(UsageError, match="Did you mean 'train/photo'"):
        draw({"run": run}, only=["train/foto"])
