"""The output folder is there completely or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend import output_folder as output_folder_module
from backend.errors import PhotoError, UsageError
from backend.output_folder import output_folder

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def make_result(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "head.json").write_text(text)
    (folder / "head.fbx").write_text(text)
    return folder


def test_the_result_appears_when_the_block_has_ended(tmp_path: Path):
    output = tmp_path / "new" / "result"
    with output_folder(output) as working:
        (working / "head.json").write_text("new")
        assert not output.exists()
    assert names(output) == {"head.json"}
    assert names(output.parent) == {"result"}


@pytest.mark.parametrize("error", [PhotoError("no-face", "No face."), ValueError("ours"), KeyboardInterrupt()])
def test_an_error_or_ctrl_c_leaves_nothing_behind(tmp_path: Path, error: BaseException):
    with pytest.raises(type(error)), output_folder(tmp_path / "new" / "result") as working:
        (working / "head.json").write_text("half")
        raise error
    assert names(tmp_path) == set()


def test_an_error_leaves_the_older_result_as_it_was(tmp_path: Path):
    output = make_result(tmp_path / "result", "old")
    with pytest.raises(ValueError), output_folder(output, overwrite=True) as working:
        (working / "head.json").write_text("half")
        raise ValueError
    assert names(tmp_path) == {"result"}
    assert (output / "head.json").read_text() == "old"


def test_replacing_a_result_removes_our_older_files_and_keeps_other_peoples(tmp_path: Path):
    output = make_result(tmp_path / "result", "old")
    (output / "notes.txt").write_text("mine")
    with output_folder(output, overwrite=True) as working:
        (working / "head.json").write_text("new")
    assert names(output) == {"head.json", "notes.txt"}
    assert (output / "head.json").read_text() == "new"
    assert names(tmp_path) == {"result"}


def test_a_result_that_exists_asks_for_overwrite(tmp_path: Path):
    with pytest.raises(UsageError, match="--overwrite"), output_folder(make_result(tmp_path / "result", "old")):
        pytest.fail("never entered")


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(UsageError, match="other things"), output_folder(tmp_path, overwrite=True):
        pytest.fail("never entered")
    assert names(tmp_path) == {"photo.jpg"}


def test_an_empty_folder_is_taken(tmp_path: Path):
    with output_folder(tmp_path) as working:
        (working / "head.json").write_text("new")
    assert names(tmp_path) == {"head.json"}


@pytest.mark.parametrize("below", ["", "result", "deep/result"])
def test_an_output_that_is_a_file_or_below_one_is_refused(tmp_path: Path, below: str):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError), output_folder(tmp_path / "file" / below, overwrite=True):
        pytest.fail("never entered")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("output", ["/dev/full", "/dev/full/result", "/proc/result"])
def test_places_where_no_folder_can_be_made_are_refused(output: str):
    with pytest.raises(UsageError) as caught, output_folder(Path(output)):
        pytest.fail("never entered")
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match="full") as caught, output_folder(tmp_path / "result"):
        Path("/dev/full").write_text("x")
    assert caught.value.code == "disk-full"
    assert names(tmp_path) == set()


def test_a_full_disk_hidden_in_another_error_is_found_by_the_free_space(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("backend.output_folder._is_full", lambda _: True)
    with pytest.raises(UsageError, match="full"), output_folder(tmp_path / "result"):
        raise ValueError("12345 requested and 0 written")


def test_an_error_of_another_file_stays_what_it_is(tmp_path: Path):
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "result"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/elsewhere/photo.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_nothing_or_is_cleaned_up_after(tmp_path: Path, sign: signal.Signals):
    output = tmp_path / "result"
    code = (
        "import sys, time; from pathlib import Path; from backend.output_folder import output_folder\n"
        "with output_folder(Path(sys.argv[1])) as working:\n"
        "    (working / 'head.json').write_text('half'); print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(output)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(sign)
    process.wait(10)
    process.stdout.close()
    assert not output.exists()
    if sign == signal.SIGINT:
        assert names(tmp_path) == set()
    with output_folder(output) as working:
        (working / "head.json").write_text("new")
    assert names(tmp_path) == {"result"}


def test_a_full_disk_is_known_too_where_the_error_has_no_number(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(output_folder_module, "_is_full", lambda folder: True)
    with pytest.raises(UsageError, match="full") as caught, output_folder(tmp_path / "result"):
        raise shutil.Error([("from", "to", "[Errno 28] No space left on device")])
    assert caught.value.code == "disk-full"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_is_written_whole_or_its_disk_is_said_to_be_full(suffix: str, tmp_path: Path):
    pipeline = pytest.importorskip("backend.pipeline", reason="needs the runtime packages in this interpreter")
    image = np.dstack(np.broadcast_arrays(np.arange(64)[:, None], np.arange(48), 200)).astype(np.uint8)
    pipeline.write_picture(tmp_path / f"picture{suffix}", image)
    read = np.asarray(Image.open(tmp_path / f"picture{suffix}"))
    assert read.shape == image.shape
    assert np.abs(read.astype(int) - image).max() <= (0 if suffix == ".png" else 6)
    (tmp_path / f"full{suffix}").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        pipeline.write_picture(tmp_path / f"full{suffix}", image)
    assert caught.value.errno == errno.ENOSPC
