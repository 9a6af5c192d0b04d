"""The real backend process: real photographs in, result folders out, and an end at any moment."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backend import asset_store, devices, pipeline
from backend.cli import DEMO_PHOTOGRAPH
from backend.client import Backend, Failed, Finished, Progress, backend_command
from backend.errors import Cancelled, LifemaskError, UsageError
from backend.options import ReconstructOptions
from backend.result_folder import read_result
from tests.stand_in_heads import write_flame_head

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def backend(tmp_path_factory) -> Iterator[Backend]:
    command, variables = backend_command(Path(sys.executable), "serve", "--parent-pid", str(os.getpid()))
    process = Backend(command, tmp_path_factory.mktemp("logs"), variables=variables)
    yield process
    process.stop()


def job(output: Path, *photographs: Path, **options) -> dict:
    asked = {"texture_size": 256, **options}
    return {"photographs": [{"path": str(path)} for path in photographs], "output": str(output), "options": asked}


def test_a_photograph_becomes_a_result_folder(backend, tmp_path):
    stages = []
    request = backend.request("reconstruct", job(tmp_path / "out", DEMO_PHOTOGRAPH))
    value = backend.wait(request, lambda progress: stages.append((progress.stage, progress.share)))
    head = read_result(tmp_path / "out")
    assert head.photographs[0].landmark_error == pytest.approx(value["landmark_error"])
    assert 0 < value["landmark_error"] < 0.05
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert "fitting the head" in dict(stages)
    assert backend.info["device"] in backend.info["devices"]
    model = backend.info["face_models"][0]  # others may have been added
    assert model["name"] == "open_head" and model["label"] == "Open Head" and model["source"]
    assert model["commercial"] and model["licence"].startswith("CC0") and "sold" in model["sentence"]


def test_the_faces_of_a_photograph_are_counted_as_the_reconstruction_counts_them(backend, data_folder, tmp_path):
    two = data_folder / "photos" / "public_domain" / "two_people.jpg"
    found = backend.wait(backend.request("find_faces", {"path": str(two)}))
    assert [face["number"] for face in found["faces"]] == [1, 2] and all(face["usable"] for face in found["faces"])
    centres = []
    for face in found["faces"]:
        asked = job(tmp_path / str(face["number"]), two)
        asked["photographs"][0]["face"] = face["number"]
        backend.wait(backend.request("reconstruct", asked))
        photograph = read_result(tmp_path / str(face["number"])).photographs[0]
        head = photograph.camera.translation
        u = (photograph.camera.fx * head[0] / head[2] + photograph.camera.cx) / found["width"]
        left, _, width, _ = face["box"]
        assert left < u < left + width
        centres.append(u)
    assert abs(centres[0] - centres[1]) > 0.3


def test_a_photograph_without_a_face_is_a_sentence_and_the_process_goes_on(backend, tmp_path):
    grey = tmp_path / "grey.png"
    import cv2
    import numpy as np

    cv2.imwrite(str(grey), np.full((300, 300, 3), 128, np.uint8))
    pid = backend.pid
    with pytest.raises(LifemaskError) as caught:
        backend.wait(backend.request("reconstruct", job(tmp_path / "out", grey)))
    assert caught.value.code == "no-face" and caught.value.fix.action == "choose-another-photo"
    assert backend.pid == pid and not (tmp_path / "out").exists()


def test_it_stops_at_any_moment_within_a_second_and_leaves_nothing(backend, tmp_path):
    moments = random.Random(3)
    worst = 0.0
    for number in range(6):
        request = backend.request("reconstruct", job(tmp_path / f"out {number}", DEMO_PHOTOGRAPH, texture_size=2048))
        asked_at = time.monotonic() + moments.uniform(0.0, 1.5)
        cancelled_at = None
        while True:
            events = [event for event in backend.poll() if not isinstance(event, Progress)]
            if events:
                break
            if cancelled_at is None and time.monotonic() > asked_at:
                backend.cancel(request)
                cancelled_at = time.monotonic()
            time.sleep(0.005)
        if isinstance(events[-1], Finished):
            assert (tmp_path / f"out {number}" / "head.json").is_file()
            continue
        assert isinstance(events[-1], Failed) and events[-1].failure.code == "cancelled"
        worst = max(worst, time.monotonic() - cancelled_at)
        assert not (tmp_path / f"out {number}").exists()
    assert worst < 1.0
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_sentence_and_nothing_is_left_on_it(backend, small_disk):
    with pytest.raises(LifemaskError) as caught:
        backend.wait(backend.request("reconstruct", job(small_disk / "people" / "out", DEMO_PHOTOGRAPH)))
    assert caught.value.code == "disk-full" and str(small_disk) in caught.value.sentence
    assert not list(small_disk.iterdir())


def test_our_own_faults_are_told_with_the_log_that_has_the_traceback(backend, tmp_path):
    with pytest.raises(LifemaskError) as caught:
        backend.wait(backend.request("reconstruct", {"output": str(tmp_path / "out")}))
    assert "should not have" in caught.value.sentence and caught.value.fix.action == "open-log"
    assert "KeyError" in Path(caught.value.log).read_text("utf-8")


def test_a_face_model_that_is_not_there_is_a_sentence(backend, tmp_path):
    with pytest.raises(LifemaskError, match="No head can be made from flame") as caught:
        backend.wait(backend.request("reconstruct", job(tmp_path / "out", DEMO_PHOTOGRAPH, face_model="flame")))
    assert caught.value.code == "no-such-face-model"


@pytest.fixture
def with_flame(tmp_path: Path) -> Iterator[Backend]:
    """A backend in whose home a FLAME 2020 was added, as far as the record says; its model is none."""
    folder = tmp_path / "home" / "face_models" / "flame2020"
    folder.mkdir(parents=True)
    (folder / "model.npz").write_bytes(b"not looked into")
    flame = next(asset for asset in asset_store.assets() if asset.name == "flame2020")
    record = {"schema_version": 1, **flame.as_json(), "installed": True, "sha256": "ab"}
    record["preparation"] = asset_store.PREPARATION
    (folder / "asset.json").write_text(json.dumps(record), "utf-8")
    command, variables = backend_command(Path(sys.executable), "serve", "--parent-pid", str(os.getpid()))
    variables = {**variables, "LIFEMASK_HOME": str(tmp_path / "home")}
    variables.pop("LIFEMASK_FACE_LANDMARKER", None)
    process = Backend(command, tmp_path / "logs", variables=variables)
    yield process
    process.stop()


def refusal(process: Backend, method: str, **params) -> str:
    with pytest.raises(LifemaskError) as caught:
        process.wait(process.request(method, params))
    assert type(caught.value) is UsageError and caught.value.sentence.endswith(".")
    return caught.value.code


def test_face_models_are_told_listed_refused_and_removed(with_flame, tmp_path):
    backend = with_flame
    listed = backend.wait(backend.request("assets.list", {}))["assets"]
    fields = {"name", "label", "kind", "installed", "licence", "sentence", "commercial", "size", "sha256", "source"}
    assert all(fields | {"fetchable"} <= set(asset) for asset in listed)
    assert {asset["name"] for asset in listed if asset["installed"]} == {"open_head", "flame2020"}
    assert {asset["name"] for asset in listed if asset["kind"] == "detector"} == {"face_landmarker"}
    own, flame = backend.info["face_models"]
    assert set(flame) == {"name", "label", "licence", "sentence", "commercial", "source", "fetchable", "outdated"}
    assert (own["name"], flame["name"], flame["label"], flame["commercial"]) == (
        "open_head",
        "flame2020",
        "FLAME 2020",
        False,
    )
    for_sale = job(tmp_path / "out", tmp_path / "nowhere.jpg", face_model="flame2020", for_sale=True)
    (tmp_path / "nowhere.jpg").write_bytes(b"no photograph")
    assert refusal(backend, "reconstruct", **for_sale) == "licence-forbids-sale"
    assert refusal(backend, "assets.remove", name="open_head") == "built-in"
    assert refusal(backend, "assets.fetch", name="flame2020", agreed=True) == "not-fetchable"
    assert refusal(backend, "assets.fetch", name="face_landmarker", agreed=False) == "consent-needed"
    assert refusal(backend, "assets.fetch", name="face_landmarker", agreed="yes") == "consent-needed"
    assert refusal(backend, "assets.add", path=str(tmp_path / "gone.pkl")) == "no-face-model-file"
    assert backend.wait(backend.request("assets.remove", {"name": "flame2020"})) == {}
    listed = backend.wait(backend.request("assets.list", {}))["assets"]
    assert [asset["name"] for asset in listed if asset["installed"]] == ["open_head"]
    assert refusal(backend, "reconstruct", **for_sale) == "no-such-face-model"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_face_model_is_added_used_and_removed_without_a_new_process(tmp_path):
    write_flame_head(tmp_path, kind="2020")
    command, variables = backend_command(Path(sys.executable), "serve", "--parent-pid", str(os.getpid()))
    home = tmp_path / "home"
    backend = Backend(command, tmp_path / "logs", variables={**variables, "LIFEMASK_HOME": str(home)})
    file = {"path": str(tmp_path / "generic_model.pkl")}
    try:
        request, stages = backend.request("assets.add", file), []
        with pytest.raises(Cancelled):

            def stop(progress: Progress) -> None:
                if progress.share > 0.06:
                    backend.cancel(request)

            backend.wait(request, stop)
        pid = backend.pid
        assert not [path for path in (home / "face_models").iterdir() if path.suffix != ".lock"]
        told = backend.wait(
            backend.request("assets.add", file), lambda progress: stages.append((progress.share, progress.stage))
        )["asset"]
        assert (told["name"], told["installed"], told["commercial"]) == ("flame2020", True, False)
        assert told["size"] == (tmp_path / "generic_model.pkl").stat().st_size
        assert stages == sorted(stages) and len(dict(stages)) > 3
        asked = job(tmp_path / "out", DEMO_PHOTOGRAPH, face_model="flame2020")
        value = backend.wait(backend.request("reconstruct", asked))
        head = read_result(tmp_path / "out")
        assert head.face_model.name == "flame2020" and head.licences[0].what == "face model FLAME 2020"
        assert any("may not be sold" in warning for warning in value["warnings"])
        assert 0 < value["landmark_error"] < 0.05
        assert backend.wait(backend.request("assets.remove", {"name": "flame2020"})) == {}
        assert refusal(backend, "reconstruct", **asked) == "no-such-face-model"
        assert backend.pid == pid
    finally:
        backend.stop()


def test_it_refuses_an_add_on_of_another_version(backend):
    with pytest.raises(LifemaskError) as caught:
        backend.wait(backend.request("initialize", {"protocol": [2, 0]}))
    assert caught.value.code == "protocol-mismatch"


def test_an_environment_without_the_packages_is_a_sentence_and_nothing_is_installed(tmp_path):
    bare = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from backend.cli import main; sys.exit(main(['serve']))"
    variables = {**os.environ, "LIFEMASK_HOME": str(tmp_path / "home")}
    process = Backend([sys.executable, "-S", "-c", bare], tmp_path / "logs", variables=variables)
    try:
        with pytest.raises(LifemaskError) as caught:
            process.wait(process.request("find_faces", {"path": str(DEMO_PHOTOGRAPH)}))
    finally:
        process.stop()
    assert caught.value.code == "broken-package" and caught.value.fix.action == "repair-environment"
    assert caught.value.sentence.startswith("torch ") and not (tmp_path / "home").exists()


TOO_LITTLE = {
    "PyTorch": "import torch; torch.empty(1 << 55)",
    "numpy": "import numpy; numpy.empty(1 << 55)",
    "OpenCV": "import cv2; raise cv2.error('OpenCV(4.11.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed')",
}


@pytest.mark.parametrize("library", TOO_LITTLE)
def test_memory_that_is_not_enough_is_said_whichever_library_wants_it(library, tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from backend import server

def want(params, call):
    {TOO_LITTLE[library]}

sys.exit(server.serve({{"initialize": lambda params, call: {{"protocol": [1, 0]}}, "want": want}}))
"""
    process = Backend([sys.executable, "-c", script], tmp_path / "logs")
    try:
        with pytest.raises(LifemaskError, match="not enough memory") as caught:
            process.wait(process.request("want", {}))
    finally:
        process.stop()
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize(
    "words", ["MPS backend out of memory (18 GB)", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"]
)
def test_a_gpu_without_memory_is_known_by_its_words(words):
    def work(device, notes):
        if device == "cpu":
            return notes
        raise RuntimeError(words)

    assert devices.with_cpu_fallback("mps", work) == [devices.GPU_TOO_SMALL]


def test_when_the_gpu_memory_is_not_enough_the_processor_does_it_and_says_so(tmp_path, monkeypatch):
    drawn_on = []

    def draw(head, image, albedo, device="cpu"):
        drawn_on.append(device)
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return image

    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: "cuda")
    monkeypatch.setattr(pipeline, "draw_overlay", draw)
    options = ReconstructOptions(texture_size=128, method="fit", detail=False)  # which puts no network on the card
    report = pipeline.reconstruct([DEMO_PHOTOGRAPH], tmp_path / "out", options)
    assert drawn_on == ["cuda", "cpu"] and report.device == "cpu"
    assert devices.GPU_TOO_SMALL in report.warnings
    assert devices.GPU_TOO_SMALL in read_result(tmp_path / "out").warnings


def test_other_errors_on_a_gpu_are_not_hidden(monkeypatch):
    def work(device, notes):
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="assert"):
        devices.with_cpu_fallback("cuda", work)


def test_memory_that_ends_on_the_processor_is_no_matter_of_the_gpu():
    def work(device, notes):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        devices.with_cpu_fallback("cpu", work)
