"""Added face models appear whole or not at all, and go when asked; downloads wait for a yes and go on after a break.

What reads and prepares a model is replaced by something small; tests of the real models are in test_formats.py and
test_preparation.py.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backend import asset_catalogue, asset_store, cli, doctor, start
from backend.asset_catalogue import CATALOGUE, FACE_MODEL
from backend.downloads import KnownFile
from backend.errors import Cancelled, LifemaskError, SetupError, UsageError
from backend.face_models import load_face_model
from backend.face_models.formats import FORMATS
from backend.face_models.open_head import LICENCE as OPEN_HEAD_LICENCE
from backend.options import check_face_model, face_model_names
from tests.backend.test_downloads import CONTENT, known, server  # noqa: F401  (fixtures)

ROOT = Path(asset_store.__file__).parent.parent


class Prepared:
    """A face model that is its file's bytes."""

    def __init__(self, content: bytes):
        self.content = content

    def save(self, path: Path) -> None:
        path.write_bytes(self.content)


class Format:
    """Takes any file that begins with "model" for a FLAME 2020."""

    name, label = "flame2020", "FLAME 2020"

    def __init__(self):
        self.arrays = types.SimpleNamespace(
            label=self.label,
            licence=types.SimpleNamespace(name="FLAME", sentence="For research.", commercial=False),
            source="https://flame.is.tue.mpg.de",
        )

    def files(self, path: Path) -> list[Path]:
        return [file for file in (path, path.with_name("landmark_embedding.npy")) if file.exists()]

    def read(self, path: Path) -> types.SimpleNamespace:
        return types.SimpleNamespace(**vars(self.arrays), content=path.read_bytes() if path.is_file() else b"folder")


def identify(path: Path) -> Format:
    if path.is_file() and not path.read_bytes().startswith(b"model"):
        raise UsageError("bad-face-model-file", f"{path.name} is no face model.")
    return Format()


def prepare(arrays: types.SimpleNamespace, progress: Callable[[str, float], None]) -> Prepared:
    progress("registering the open head", 0.5)
    return Prepared(arrays.content)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LIFEMASK_FACE_LANDMARKER", raising=False)
    return tmp_path / "home"


@pytest.fixture
def preparation(home, monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The modules that `add` reads and prepares with, replaced; a test may change `prepare`."""
    formats = types.SimpleNamespace(identify=identify)
    module = types.SimpleNamespace(prepare=prepare)
    import backend.face_models

    for name, fake in (("formats", formats), ("preparation", module)):
        monkeypatch.setitem(sys.modules, f"backend.face_models.{name}", fake)
        monkeypatch.setattr(backend.face_models, name, fake, raising=False)
    return module


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(b"model one")
    return path


def left(home: Path) -> list[str]:
    """What is in the folder of face models but locks, hidden or not."""
    folder = home / "face_models"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


# Adding


def test_an_added_model_is_there_with_its_origin_and_its_licence(preparation, home, model_file):
    told = []
    asset = asset_store.add(model_file, lambda stage, share, detail: told.append((stage, share)))
    assert asset_store.installed() == [asset] and asset_store.find("flame2020") == asset
    assert asset_store.model_path("flame2020") == home / "face_models" / "flame2020" / "model.npz"
    assert asset_store.model_path("flame2020").read_bytes() == b"model one"
    assert (asset.licence, asset.sentence, asset.commercial) == ("FLAME", "For research.", False)
    assert (asset.size, asset.sha256) == (9, hashlib.sha256(b"model one").hexdigest())
    assert (asset.file, asset.preparation, asset.installed) == ("generic_model.pkl", asset_store.PREPARATION, True)
    written = json.loads((home / "face_models" / "flame2020" / "asset.json").read_text("utf-8"))
    assert written["added"].startswith("20") and str(model_file.parent) not in json.dumps(written)
    assert face_model_names() == ("open_head", "flame2020")
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert "registering the open head" in dict(told)
    assert left(home) == ["flame2020"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), UsageError("bad-face-model-file", "It is cut off."), OSError(5)]
)
def test_whatever_ends_an_addition_leaves_nothing_and_an_older_model_stays(preparation, home, model_file, error):
    def fail(arrays, progress):
        class Half(Prepared):
            def save(self, path):
                super().save(path)
                raise error

        return Half(b"half")

    working, preparation.prepare = preparation.prepare, fail
    with pytest.raises(type(error)):
        asset_store.add(model_file)
    assert left(home) == [] and asset_store.installed() == [] and asset_store.model_path("flame2020") is None
    preparation.prepare = working
    first = asset_store.add(model_file)
    preparation.prepare = fail
    model_file.write_bytes(b"model two")
    with pytest.raises(type(error)):
        asset_store.add(model_file)
    assert left(home) == ["flame2020"] and asset_store.installed() == [first]
    assert asset_store.model_path("flame2020").read_bytes() == b"model one"


def test_an_older_model_is_in_use_until_the_new_one_is_complete(preparation, home, model_file):
    asset_store.add(model_file)
    seen = []

    def look(arrays, progress):
        seen.append(asset_store.model_path("flame2020").read_bytes())
        return prepare(arrays, progress)

    preparation.prepare = look
    model_file.write_bytes(b"model two")
    asset_store.add(model_file)
    assert seen == [b"model one"]
    assert asset_store.model_path("flame2020").read_bytes() == b"model two"
    assert asset_store.installed()[0].sha256 == hashlib.sha256(b"model two").hexdigest()
    assert left(home) == ["flame2020"]


def test_a_killed_process_leaves_nothing_that_counts_and_the_next_addition_clears_it(preparation, home, model_file):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from backend import asset_store
with asset_store._place_of("flame2020", lambda *told: None, lambda: False) as working:
    (working / "model.npz").write_bytes(b"half")
    (working / "asset.json").write_text("{{}}")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-S", "-c", program], check=False)
    assert left(home) == [".flame2020.new"] and asset_store.installed() == []
    asset_store.add(model_file)
    assert left(home) == ["flame2020"]


def test_a_model_that_was_put_aside_when_the_process_was_killed_comes_back(preparation, home, model_file):
    first = asset_store.add(model_file)
    folder = home / "face_models"
    (folder / "flame2020").rename(folder / ".flame2020.old")  # between the two renames of a replacement
    model_file.write_bytes(b"no model")
    preparation.prepare = lambda arrays, progress: pytest.fail("not reached")
    with pytest.raises(UsageError):
        asset_store.add(model_file)
    model_file.write_bytes(b"model two")
    preparation.prepare = lambda arrays, progress: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        asset_store.add(model_file)
    assert asset_store.installed() == [first] and left(home) == ["flame2020"]


def test_two_that_add_the_same_model_take_turns(preparation, home, model_file):
    at_work, most, told = [], [], []

    def slow(arrays, progress):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.3)
        at_work.pop()
        return prepare(arrays, progress)

    preparation.prepare = slow
    both = [
        threading.Thread(target=asset_store.add, args=(model_file, lambda *said: told.append(said[0])))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert most == [1, 1] and any("waiting for another Lifemask" in stage for stage in told)
    assert left(home) == ["flame2020"]


def test_who_waits_can_stop(preparation, home, model_file):
    with asset_store._locked("flame2020", lambda *told: None, lambda: False), pytest.raises(Cancelled):
        asset_store.add(model_file, cancelled=lambda: True)


def test_another_model_need_not_wait(preparation, home, model_file):
    with asset_store._locked("bfm2009", lambda *told: None, lambda: False):
        assert asset_store.add(model_file).name == "flame2020"


def test_several_files_are_known_by_what_sha256sum_says_of_them(preparation, home, model_file):
    model_file.with_name("holiday.jpg").write_bytes(b"not a part of it")
    embedding = model_file.with_name("landmark_embedding.npy")
    embedding.write_bytes(b"points")
    lines = f"{hashlib.sha256(b'model one').hexdigest()}  generic_model.pkl\n"
    lines += f"{hashlib.sha256(b'points').hexdigest()}  landmark_embedding.npy\n"
    asset = asset_store.add(model_file)
    assert (asset.size, asset.sha256) == (15, hashlib.sha256(lines.encode()).hexdigest())
    assert asset.file == "generic_model.pkl with landmark_embedding.npy"
    embedding.unlink()
    assert asset_store.add(model_file).sha256 == hashlib.sha256(b"model one").hexdigest()


@pytest.mark.parametrize("change", ["its bytes", "a file beside it"])
def test_a_file_that_changes_while_it_is_read_is_not_kept(preparation, home, model_file, monkeypatch, change):
    read = Format.read

    def changed(self, path):
        arrays = read(self, path)
        (path if change == "its bytes" else path.with_name("landmark_embedding.npy")).write_bytes(b"model two, another")
        return arrays

    monkeypatch.setattr(Format, "read", changed)
    with pytest.raises(UsageError, match="changed while it was read") as caught:
        asset_store.add(model_file)
    assert caught.value.code == "bad-face-model-file" and left(home) == []


def test_a_file_that_cannot_be_read_is_a_sentence(preparation, home, model_file):
    model_file.with_name("landmark_embedding.npy").mkdir()  # as good as no permission, which root always has
    with pytest.raises(UsageError, match="landmark_embedding.npy cannot be read: Is a directory") as caught:
        asset_store.add(model_file)
    assert caught.value.code == "no-face-model-file" and left(home) == []


@pytest.fixture
def outdated(preparation, home, model_file, monkeypatch) -> asset_store.Asset:
    """A face model that an older Lifemask has added."""
    with monkeypatch.context() as patch:
        patch.setattr(asset_store, "PREPARATION", asset_store.PREPARATION - 1)
        asset_store.add(model_file)
    return asset_store.find("flame2020")


def test_what_an_older_lifemask_prepared_is_said_and_not_used_until_it_is_added_again(outdated, home, model_file):
    again = "FLAME 2020 was prepared by an older Lifemask; add its file again: python3 -m backend assets add FILE"
    assert outdated.installed and outdated.outdated and outdated.as_json()["outdated"] is True
    assert face_model_names() == ("open_head",) and asset_store.model_path("flame2020") is None
    for refuse in (check_face_model, load_face_model):
        with pytest.raises(UsageError, match=re.escape(again)) as caught:
            refuse("flame2020")
        assert (caught.value.code, caught.value.fix.action) == ("outdated-face-model", "add-face-model")
    result = bare(home, "list")
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("flame2020 "))
    assert " outdated " in line and " here " not in line and again in result.stdout
    assert again in "".join(doctor._added_face_models())
    asset_store.add(model_file)
    assert face_model_names() == ("open_head", "flame2020") and again not in "".join(doctor._added_face_models())
    assert asset_store.find("flame2020").as_json()["outdated"] is False and again not in bare(home, "list").stdout
    asset_store.remove("flame2020")


def test_an_outdated_model_that_can_be_downloaded_is_downloaded_again(outdated, home):
    record = home / "face_models" / "flame2020" / "asset.json"
    record.write_text(record.read_text().replace("flame2020", "gnm"))
    record.parent.rename(record.parent.with_name("gnm"))
    with pytest.raises(UsageError, match="download it again: python3 -m backend assets fetch gnm") as caught:
        check_face_model("gnm")
    assert caught.value.fix.action == "fetch-asset"


def test_a_model_that_was_prepared_by_a_newer_lifemask_is_not_used(outdated, monkeypatch):
    monkeypatch.setattr(asset_store, "PREPARATION", outdated.preparation - 1)
    with pytest.raises(UsageError, match="was prepared by a newer Lifemask"):
        check_face_model("flame2020")


def test_a_missing_file_is_said_before_anything_is_read_or_made(home, tmp_path):
    with pytest.raises(UsageError, match="There is no file or folder") as caught:
        asset_store.add(tmp_path / "gone.pkl")
    assert caught.value.code == "no-face-model-file" and not home.exists()


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"schema_version": 99}', None])
def test_a_folder_that_is_not_whole_is_no_face_model(preparation, home, model_file, record):
    asset_store.add(model_file)
    path = home / "face_models" / "flame2020" / "asset.json"
    _ = path.unlink() if record is None else path.write_text(record)
    assert asset_store.installed() == [] and asset_store.model_path("flame2020") is None
    assert face_model_names() == ("open_head",)
    asset_store.add(model_file)
    assert face_model_names() == ("open_head", "flame2020")


@pytest.mark.parametrize("name", ["..", "", ".", "../face_models/flame2020", "flame2020/", "open_head", "FLAME2020"])
def test_only_plain_names_are_looked_for(preparation, home, model_file, name):
    asset_store.add(model_file)
    assert asset_store.model_path(name) is None


def test_a_full_disk_is_a_sentence_and_leaves_nothing(preparation, home, model_file):
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    try:
        preparation.prepare = lambda arrays, progress: Prepared(bytes(1_000_000))
        with pytest.raises(SetupError, match="not enough space") as caught:
            asset_store.add(model_file)
        assert caught.value.code == "disk-full" and left(home) == []
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_a_place_that_cannot_be_written_is_a_sentence(preparation, home, model_file):
    home.write_text("a file")
    with pytest.raises(SetupError) as caught:
        asset_store.add(model_file)
    assert caught.value.code == "no-permission" and str(home) in caught.value.sentence


# Removing


def test_a_removed_model_is_gone(preparation, home, model_file):
    asset_store.add(model_file)
    asset_store.remove("flame2020")
    assert left(home) == [] and asset_store.installed() == []
    with pytest.raises(UsageError, match="not among the face models that were added: none") as caught:
        asset_store.remove("flame2020")
    assert caught.value.code == "no-such-face-model"


@pytest.mark.parametrize("record", ["", '{"schema_version": 99}', None])
def test_a_damaged_model_can_be_removed(preparation, home, model_file, record):
    asset_store.add(model_file)
    path = home / "face_models" / "flame2020" / "asset.json"
    _ = path.unlink() if record is None else path.write_text(record)
    asset_store.remove("flame2020")
    assert left(home) == []


def test_nothing_but_a_face_models_folder_is_removed(preparation, home, model_file):
    asset_store.add(model_file)
    for name in ("..", ".", "", "flame2020/..", "../face_models", ".flame2020.old"):
        with pytest.raises(UsageError, match="not among"):
            asset_store.remove(name)
    assert left(home) == ["flame2020"]


def test_the_built_in_head_stays(home):
    with pytest.raises(UsageError, match="built in and stays") as caught:
        asset_store.remove("open_head")
    assert caught.value.code == "built-in"
    assert asset_store.OPEN_HEAD_FILE.is_file()


def test_only_the_detectors_file_that_was_downloaded_is_removed(home, tmp_path, monkeypatch):
    own = tmp_path / "face_landmarker.task"
    own.write_bytes(b"somebody's")
    monkeypatch.setenv("LIFEMASK_FACE_LANDMARKER", str(own))
    with pytest.raises(UsageError, match="not Lifemask's to remove"):
        asset_store.remove("face_landmarker")
    downloaded = home / "assets" / "face_landmarker.task"
    downloaded.parent.mkdir(parents=True)
    downloaded.write_bytes(b"downloaded")
    asset_store.remove("face_landmarker")
    assert own.exists() and not downloaded.exists()


# Downloading


@pytest.fixture
def downloadable(known: KnownFile, monkeypatch) -> KnownFile:  # noqa: F811
    """The detector's file and a face model "gnm", as a server of this test hands them out."""
    described = replace(asset_catalogue.known("face_landmarker"), download=known)
    model = replace(
        asset_catalogue.known("flame2020"), name="gnm", label="GNM", download=replace(known, name="model.bin")
    )
    entries = (*(entry for entry in CATALOGUE if entry.name not in ("face_landmarker", "gnm")), model, described)
    for module in (asset_catalogue, asset_store):
        monkeypatch.setattr(module, "CATALOGUE", entries)
    monkeypatch.setattr("backend.face_landmarker.FACE_LANDMARKER", known)
    return known


def test_nothing_is_downloaded_before_somebody_agreed(home, server, downloadable):  # noqa: F811
    with pytest.raises(UsageError, match=r"0\.5 MB from http.*Apache-2\.0") as caught:
        asset_store.fetch("face_landmarker", agreed=False)
    assert caught.value.code == "consent-needed" and caught.value.fix.command.endswith("face_landmarker --yes")
    assert server.ranges == [] and not home.exists()


def test_a_download_that_broke_off_goes_on_and_is_shown_when_it_is_whole(home, server, downloadable):  # noqa: F811
    server.breaks_off_after = 200_000
    with pytest.raises(SetupError) as caught:
        asset_store.fetch("face_landmarker", agreed=True)
    assert caught.value.code == "no-network"
    assert not asset_store._detector(asset_store.known("face_landmarker")).installed
    server.breaks_off_after = None
    told = []
    asset = asset_store.fetch("face_landmarker", True, lambda *said: told.append(said))
    assert server.ranges == [None, "bytes=200000-"]
    assert asset.installed and (home / "assets" / "known.bin").read_bytes() == CONTENT
    assert told[-1] == ("downloading the known file", 1.0, "0.5 of 0.5 MB")


def test_a_downloaded_face_model_is_added_and_its_file_is_not_kept(home, server, downloadable, preparation):  # noqa: F811
    gnm = Format()
    gnm.name, gnm.label = "gnm", "GNM"
    sys.modules["backend.face_models.formats"].identify = lambda path: gnm
    calls = []

    def fail(arrays, progress):
        calls.append(1)
        raise UsageError("bad-face-model-file", "No face is seen on it.")

    preparation.prepare, working = fail, preparation.prepare
    with pytest.raises(UsageError, match="No face"):
        asset_store.fetch("gnm", agreed=True)
    preparation.prepare = working
    told = []
    asset = asset_store.fetch("gnm", True, lambda *said: told.append(said[1]))
    assert len(server.ranges) == 1 and calls == [1]  # what had arrived was kept for the second attempt
    assert asset.installed and asset.fetchable and asset_store.model_path("gnm").read_bytes() == CONTENT
    assert told == sorted(told) and told[-1] <= 1.0
    assert not (home / "downloads" / "model.bin").exists()
    assert asset_store.fetch("gnm", agreed=True) == asset and len(server.ranges) == 1


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("flame2020", "not-fetchable", "generic_model.pkl .*https://flame.is.tue.mpg.de, .* assets add FILE"),
        ("bfm2009", "not-fetchable", "https://faces.dmi.unibas.ch"),
        ("open_head", "built-in", "comes with Lifemask"),
        ("face_landmaker", "no-such-face-model", "Did you mean face_landmarker"),
    ],
)
def test_what_may_not_be_downloaded_is_said_with_the_way_to_get_it(home, name, code, words):
    with pytest.raises(UsageError, match=words) as caught:
        asset_store.fetch(name, agreed=True)
    assert caught.value.code == code and not home.exists()


# The list and the command


def test_the_list_has_everything_once_the_built_in_head_first(preparation, home, model_file):
    asset_store.add(model_file)
    assets = asset_store.assets()
    names = [asset.name for asset in assets]
    assert names[0] == "open_head" and sorted(names) == sorted(entry.name for entry in CATALOGUE)
    here = {asset.name: asset.installed for asset in assets}
    assert [name for name in names if here[name]] == ["open_head", "flame2020"]
    head = assets[0]
    assert head.size == asset_store.OPEN_HEAD_FILE.stat().st_size and len(head.sha256) == 64
    for asset in assets:
        assert asset.sentence.endswith(".") and asset.licence and asset.source and asset.label
        assert asset.fetchable == (asset_catalogue.known(asset.name).download is not None)


def test_the_list_says_of_a_face_model_what_its_format_says():
    entries = {entry.name: entry for entry in CATALOGUE if entry.kind == FACE_MODEL}
    licences = {form.name: form.licence for form in FORMATS} | {"open_head": OPEN_HEAD_LICENCE}
    assert set(entries) == set(licences)
    for name, licence in licences.items():
        told = entries[name]
        assert (told.licence, told.sentence, told.commercial) == (licence.name, licence.sentence, licence.commercial)
    for form in FORMATS:
        told = entries[form.name]
        assert (told.label, told.source, told.expected) == (form.label, form.source, form.expected)


def bare(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command under a Python without packages and without a terminal."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "backend", "assets", *arguments],
        cwd=ROOT,
        env=os.environ | {"LIFEMASK_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bare_python_lists_what_there_is(preparation, home, model_file):
    asset_store.add(model_file)
    result = bare(home, "list")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("flame2020 "))
    assert "here" in line and line.endswith("may results be sold? no")
    assert hashlib.sha256(b"model one").hexdigest()[:12] in line
    assert any("For research." in line for line in lines)
    told = json.loads(bare(home, "list", "--json").stdout)["assets"]
    assert told == [asset.as_json() for asset in asset_store.assets()]


def test_the_command_refuses_with_a_sentence_and_exit_code_2(home):
    for arguments, words in (
        (("fetch", "face_landmarker"), "--yes"),
        (("fetch", "flame2023"), "flame.is.tue.mpg.de"),
        (("remove", "open_head"), "built in"),
        (("remove", "gone"), "gone is not among"),
        (("add", "nowhere.pkl"), "nowhere.pkl"),
    ):
        result = bare(home, *arguments)
        assert result.returncode == 2 and words in result.stderr, result.stderr
    assert not home.exists()


def test_the_command_adds_and_removes(preparation, home, model_file, monkeypatch, capfd):
    monkeypatch.setattr(start, "inside", lambda *_: None)
    assert cli.main(["assets", "add", str(model_file)]) == 0
    said = capfd.readouterr()
    assert "may results be sold? no" in said.out and "--face-model flame2020" in said.out
    assert "registering the open head" in said.err
    assert cli.main(["assets", "remove", "flame2020"]) == 0
    assert asset_store.installed() == []


def test_the_command_fetches_after_a_yes_in_the_terminal(home, server, downloadable, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
    for answer, code in ((None, 2), ("n", 2), ("y", 0)):

        def say(prompt: str, answer: str | None = answer) -> str:
            if answer is None:
                raise EOFError
            return answer

        monkeypatch.setattr("builtins.input", say)
        assert cli.main(["assets", "fetch", "face_landmarker"]) == code
        said = capsys.readouterr()
        assert "0.5 MB" in said.err and "Apache-2.0" in said.err and downloadable.source in said.err
        assert len(server.ranges) == (code == 0)
    assert (home / "assets" / "known.bin").read_bytes() == CONTENT


def test_errors_of_reading_come_through_as_they_are(preparation, home, tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(b"something else")
    with pytest.raises(LifemaskError) as caught:
        asset_store.add(path)
    assert caught.value.code == "bad-face-model-file" and left(home) == []
