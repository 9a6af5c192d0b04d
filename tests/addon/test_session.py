"""The session: what is shown while a process makes heads, and what it says when anything goes wrong. No Blender."""

import importlib
import importlib.util
import json
import os
import shutil
import sys
import time
import venv
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from backend import asset_store

from ..backend.test_environment import make_wheel, write_sets

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fake_backend.py"
PACKAGE = "lifemask_without_blender"


@pytest.fixture(scope="module")
def addon():
    """An importer of the add-on's modules, loaded as Blender loads them: below a package that holds the backend too."""
    spec = importlib.util.spec_from_file_location(PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACKAGE])
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def types(addon) -> ModuleType:
    return addon("addon.session")


@pytest.fixture
def photograph(tmp_path) -> Path:
    path = tmp_path / "Zoë 写真.jpg"
    path.write_bytes(b"a photograph")
    return path


@pytest.fixture
def start(types, tmp_path):
    """A function that makes a session whose backend is the fake one, told what to do by its arguments."""
    made = []

    def make(root: Path = tmp_path / "Lifemask ü", **told):
        session = types.Session()
        variables = {**os.environ, "LIFEMASK_FAKE": json.dumps(told)}
        command = (sys.executable, str(FAKE), "--parent-pid", str(os.getpid()))
        session.find_program = lambda settings: types.Program(command, variables)
        session.configure(types.Settings(root=root))
        made.append(session)
        return session

    yield make
    for session in made:
        session.shut_down()


def request_for(types, *photographs: Path, **more):
    return types.Request(tuple((path, None) for path in photographs), **more)


def until(session, condition, seconds: float = 20.0) -> float:
    """Tick until it is so; returns the seconds that it took, and those of the longest tick."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, (session.state, session.error)
        session.tick()
        time.sleep(0.01)
    return time.monotonic() - began


def test_a_head_goes_from_ready_over_working_to_done(types, start, photograph):
    session = start(seconds=0.3, landmark_error=0.0125, warnings=["It is dark."])
    assert session.state is types.State.READY
    woken = []
    session.wake = lambda: woken.append(True)
    session.start_reconstruct(request_for(types, photograph, photograph, options={"texture_size": 1024}))
    assert session.state is types.State.WORKING and woken and session.is_busy
    seen = []
    until(session, lambda: seen.append((session.work.stage, session.work.share)) if session.work else True)
    stages = [stage for stage, _ in seen]
    assert "fitting the head" in stages and "writing the result" in stages
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[-1] > 0.5
    done = session.done
    assert session.state is types.State.DONE and done.waiting and not session.is_busy
    assert done.landmark_error == 0.0125 and done.warnings == ("It is dark.",) and done.seconds > 0.25
    assert done.sentence == "Head made from 2 photographs"
    assert done.folder.is_dir() and done.folder.parent == session.settings.folder / "jobs"
    assert session.info["device"] == "cpu"
    session.dismiss()
    assert session.state is types.State.READY


def test_what_is_drawn_changes_the_version(types, start, photograph):
    session = start(seconds=0.2)
    versions = [session.version]
    session.start_reconstruct(request_for(types, photograph))
    versions.append(session.version)
    until(session, lambda: session.work.share > 0)
    versions.append(session.version)
    until(session, lambda: session.done)
    versions.append(session.version)
    assert versions == sorted(set(versions))


def test_cancel_is_over_in_a_second_and_a_half_and_leaves_nothing(types, start, photograph):
    session = start(seconds=30)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.work.share > 0)
    session.cancel()
    assert session.state is types.State.CANCELLING
    seconds = until(session, lambda: session.state is not types.State.CANCELLING)
    assert session.state is types.State.READY and seconds < 1.5
    assert list(session.settings.folder.glob("jobs/*")) == []
    session.start_reconstruct(request_for(types, photograph))
    assert session.state is types.State.WORKING


def test_cancel_before_the_process_is_ready_is_a_cancel_too(types, start, photograph):
    session = start(seconds=30)
    session.start_reconstruct(request_for(types, photograph))
    session.cancel()
    assert until(session, lambda: session.state is types.State.READY) < 1.5


def test_a_process_that_ignores_the_cancel_is_ended(types, start, photograph, addon, monkeypatch):
    monkeypatch.setattr(addon("backend.client"), "HARD_STOP_SECONDS", 0.4)
    session = start(seconds=30, ignore_cancel=True)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.work.share > 0)
    pid = session._backend.pid
    session.cancel()
    until(session, lambda: session.state is types.State.READY, seconds=5)
    until(session, lambda: not is_alive(pid), seconds=5)


def test_a_crash_is_a_sentence_and_trying_again_starts_anew(types, start, photograph, tmp_path):
    session = start(seconds=0.3, crash_at=0.5, crash_once=str(tmp_path / "crashed"))
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.error)
    assert session.state is types.State.ERROR
    assert session.error.code == "backend-crashed" and session.error.fix.action == "retry"
    assert Path(session.error.log).is_file()
    session.retry()
    assert session.state is types.State.WORKING
    until(session, lambda: session.done)


@pytest.mark.parametrize(
    ("told", "code"),
    [({"rubbish": 500}, "not-lifemask"), ({"protocol": [9, 0]}, "protocol-mismatch")],
)
def test_a_stranger_on_the_other_side_is_an_error_with_a_mend(types, start, photograph, told, code):
    session = start(**told)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.error or session.done)
    assert session.error.code == code and session.error.fix is not None


def test_a_photograph_deleted_meanwhile_asks_for_another(types, start, photograph):
    session = start(seconds=0.3)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.work.share > 0)
    photograph.unlink()
    until(session, lambda: session.error)
    assert session.error.code == "no-such-file" and session.error.fix.action == "choose-another-photo"


def test_while_something_runs_nothing_else_starts(types, start, photograph, addon):
    session = start(seconds=30)
    session.start_reconstruct(request_for(types, photograph))
    for again in (
        lambda: session.start_reconstruct(request_for(types, photograph)),
        lambda: session.start_batch({}),
        lambda: session.start_set_up(types.SetupChoice(session.settings.folder)),
        session.release,
    ):
        with pytest.raises(addon("backend.protocol").LifemaskError, match="Lifemask is at work"):
            again()


def test_faces_are_found_beside_everything_else(types, start, photograph, tmp_path):
    faces = [{"number": 1, "box": [0.1, 0.2, 0.3, 0.4], "usable": True}, {"number": 2, "box": [0, 0, 0.1, 0.1]}]
    session = start(faces=faces)
    found = []
    session.find_faces(photograph, found.append)
    session.find_faces(tmp_path / "gone.jpg", found.append)
    assert session.state is types.State.READY and session.is_busy and not found
    session.run()
    assert found[0].faces == (types.Face(1, (0.1, 0.2, 0.3, 0.4)), types.Face(2, (0, 0, 0.1, 0.1)))
    assert (found[0].path, found[0].width, found[0].height) == (photograph, 300, 400)
    assert found[1].failure.code == "no-such-file"
    assert session.state is types.State.READY


def test_a_callback_that_fails_stops_nobody(types, start, photograph):
    session = start()
    found = []
    session.find_faces(photograph, lambda _: 1 / 0)
    session.find_faces(photograph, found.append)
    session.run()
    assert len(found) == 1


def test_an_environment_that_was_deleted_is_told_and_leads_back_to_the_set_up(types, start, photograph):
    session = start()
    session.find_program = types.find_program
    session.start_reconstruct(request_for(types, photograph))
    assert session.error.code == "environment-missing" and session.error.fix.action == "set-up"
    assert str(session.settings.folder) in session.error.sentence
    session.dismiss()
    assert session.state is types.State.NOT_SET_UP
    found = []
    session.find_faces(photograph, found.append)
    session.run()
    assert found[0].failure.code == "environment-missing"


def test_a_folder_that_cannot_be_written_is_told(types, start, photograph, tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = start(root=tmp_path / "file" / "below")
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.error)
    assert session.error.fix.action == "choose-folder"


def test_a_python_that_is_gone_is_told(types, start, photograph, tmp_path):
    session = start()
    session.find_program = lambda settings: types.Program((str(tmp_path / "gone" / "python"),), dict(os.environ))
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.error)
    assert session.error.fix.action in ("set-up", "repair-environment")


def test_two_sessions_at_once_do_not_disturb_each_other(types, start, photograph):
    sessions = [start(seconds=0.5) for _ in range(2)]
    for session in sessions:
        session.start_reconstruct(request_for(types, photograph))
    for session in sessions:
        until(session, lambda session=session: session.done)
    first, second = (session.done.folder for session in sessions)
    assert first != second and first.is_dir() and second.is_dir()


def test_other_settings_start_another_process_and_release_ends_it(types, start, photograph):
    session = start(seconds=0.05)
    pids, program = [], session.find_program(session.settings)
    for device in ("cpu", "cuda"):
        changed = types.Program((*program.command, device), program.variables)
        session.find_program = lambda settings, changed=changed: changed
        session.start_reconstruct(request_for(types, photograph))
        until(session, lambda: session.done)
        pids.append(session._backend.pid)
    assert pids[0] != pids[1] and not is_alive(pids[0])
    session.release()
    assert not is_alive(pids[1]) and session.info is None


def test_faces_asked_of_a_process_that_is_ended_are_given_up(types, start, photograph):
    session = start(seconds=0.05)
    found, program = [], session.find_program(session.settings)
    session.find_faces(photograph, found.append)
    session.find_program = lambda settings: types.Program((*program.command, "cpu"), program.variables)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.done)
    assert [each.failure.code for each in found] == ["stopped"], "its number is that of the head in the new process"
    session.find_faces(photograph, found.append)
    session.release()
    session.run()
    assert found[1].failure.code == "stopped" and not session.is_busy


def test_trying_a_batch_again_takes_the_device_that_is_chosen_now(types, start, monkeypatch):
    session, asked = start(), []
    monkeypatch.setattr(session, "_start", lambda kind, method, parameters: asked.append(parameters["options"]))
    session.start_batch({"input": "people", "options": {"formats": ["fbx"]}})
    session.settings = replace(session.settings, device="cpu")
    session.retry()
    assert asked == [
        {"device": "auto", "for_sale": False, "formats": ["fbx"]},
        {"device": "cpu", "for_sale": False, "formats": ["fbx"]},
    ]


def names(assets) -> list[str]:
    return [asset.name for asset in assets]


def record_on_disk(session, name: str, text: str, *, whole: bool = True) -> None:
    folder = session.settings.folder / "face_models" / name
    folder.mkdir(parents=True)
    if whole:
        (folder / "model.npz").write_bytes(b"a model")
    (folder / "asset.json").write_text(text, "utf-8")


def test_face_models_are_known_from_the_disk_before_the_process_starts_and_from_the_process_then(
    types, start, photograph
):
    session = start(seconds=0.05)
    assert names(session.face_models) == ["open_head"] and session.face_models[0].commercial
    entry = {"name": "ict", "label": "ICT-FaceKit", "licence": "MIT", "sentence": "Sell it.", "commercial": True}
    record_on_disk(session, "ict", json.dumps(entry))
    record_on_disk(session, "nameless", json.dumps({"size": "large", "commercial": "perhaps"}))
    record_on_disk(session, "broken", "{")
    record_on_disk(session, "a list", "[1]")
    record_on_disk(session, ".flame2020.new", json.dumps(entry))
    record_on_disk(session, "half removed", json.dumps(entry), whole=False)
    session.look_again()
    assert names(session.face_models) == ["open_head", "ict", "nameless"]
    ict, nameless = session.face_models[1:]
    assert ict.commercial and ict.sentence == "Sell it." and not nameless.commercial
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.done)
    assert names(session.face_models) == ["open_head", "flame2023"], "as the fake backend has them"
    session.configure(replace(session.settings, root=session.settings.folder / "elsewhere"))
    assert names(session.face_models) == ["open_head"], "another folder has other models"


def test_a_model_that_another_lifemask_prepared_cannot_be_used_and_says_why(addon, types, start, photograph):
    models = addon("addon.face_models")
    assert models.PREPARATION == asset_store.PREPARATION, "the add-on reads the records, too"
    session = start()
    for name, preparation in (("current", models.PREPARATION), ("older", models.PREPARATION - 1)):
        record_on_disk(session, name, json.dumps({"label": name, "commercial": True, "preparation": preparation}))
    session.look_again()
    assert [(model.name, model.outdated) for model in session.face_models[1:]] == [("current", False), ("older", True)]
    assert models.why_not("current", session.face_models, for_sale=True) == ""
    why = models.why_not("older", session.face_models, for_sale=False)
    assert why == "older was prepared by another version of Lifemask. Add its file again in the preferences."
    told = models.assets_from([{"name": "gnm", "label": "GNM", "fetchable": True, "outdated": True}])
    assert "Download it again" in models.why_not("gnm", told, for_sale=False)


def test_the_list_of_what_can_be_installed_is_asked_for_beside_everything_else(types, start):
    session = start()
    assert session.assets is None
    session.list_assets()
    assert session.state is types.State.READY and session.is_busy
    session.run()
    assert names(session.assets) == ["flame2023", "ict", "bfm2009", "face_landmarker"]
    flame, ict, bfm, detector = session.assets
    assert (flame.installed, ict.installed) == (True, False) and ict.fetchable and not bfm.fetchable
    assert bfm.address == "https://faces.dmi.unibas.ch/bfm/" and detector.kind == "detector"
    assert names(session.face_models) == ["open_head", "flame2023"], "no detectors, nothing that is not installed"


def test_a_list_that_cannot_be_got_says_why_and_changes_nothing_else(types, start, tmp_path):
    session = start()
    session.find_program = lambda settings: types.Program((str(tmp_path / "gone" / "python"),), dict(os.environ))
    session.list_assets()
    session.run()
    assert session.asset_failure.sentence and session.assets is None
    assert session.state is types.State.READY and not session.is_listing


def test_a_face_model_is_added_downloaded_and_removed_and_the_news_say_so(types, start, tmp_path):
    session = start(asset_seconds=0.3)
    (tmp_path / "flame2020.pkl").write_bytes(b"a model")
    session.start_asset("add", "flame2020.pkl", {"path": str(tmp_path / "flame2020.pkl")})
    assert session.state is types.State.WORKING and session.kind == "add"
    seen = []
    until(session, lambda: seen.append((session.work.stage, session.work.share)) if session.work else True)
    assert "laying the open head over it" in [stage for stage, _ in seen]
    session.run()
    assert session.state is types.State.READY and session.news == "flame2020 is installed."
    assert "flame2020" in names(session.face_models)
    session.start_asset("fetch", "ICT-FaceKit", {"name": "ict", "agreed": True})
    session.run()
    assert session.news == "ICT-FaceKit is downloaded and installed." and "ict" in names(session.face_models)
    session.start_asset("remove", "FLAME 2023", {"name": "flame2023"})
    session.run()
    assert session.news == "FLAME 2023 was removed." and "flame2023" not in names(session.face_models)


def test_what_goes_wrong_with_a_face_model_is_an_error_that_can_be_tried_again(types, start, tmp_path):
    session = start()
    session.start_asset("add", "gone.pkl", {"path": str(tmp_path / "gone.pkl")})
    session.run()
    assert session.state is types.State.ERROR and session.error.code == "no-face-model-file"
    assert session.kind == "add" and session.news == ""
    (tmp_path / "gone.pkl").write_bytes(b"a model")
    session.retry()
    session.run()
    assert session.error is None and session.news == "gone is installed."
    session.start_asset("fetch", "BFM", {"name": "bfm2009", "agreed": True})
    session.run()
    assert session.error.code == "not-fetchable" and "https://" in session.error.sentence


def test_adding_a_face_model_can_be_cancelled(types, start, tmp_path):
    session = start(asset_seconds=30)
    (tmp_path / "model.pkl").write_bytes(b"a model")
    session.start_asset("add", "model.pkl", {"path": str(tmp_path / "model.pkl")})
    until(session, lambda: session.work.share > 0)
    session.cancel()
    assert until(session, lambda: session.state is types.State.READY) < 1.5
    assert session.news == "" and session.error is None


def test_work_that_is_sold_goes_with_every_request_and_is_refused_where_a_licence_forbids_it(
    types, start, photograph, addon
):
    session = start(seconds=0.05)
    session.configure(replace(session.settings, for_sale=True))
    session.start_reconstruct(request_for(types, photograph, options={"face_model": "flame2023"}))
    session.run()
    assert session.error.code == "licence-forbids-sale"
    why_not = addon("addon.face_models").why_not
    assert "FLAME 2023 may not be sold" in why_not("flame2023", session.face_models, for_sale=True)
    assert why_not("flame2023", session.face_models, for_sale=False) == ""
    assert why_not("open_head", session.face_models, for_sale=True) == ""
    assert "not installed" in why_not("bfm2009", session.face_models, for_sale=False)


def test_shutting_down_ends_the_process_and_the_work(types, start, photograph):
    session = start(seconds=30)
    session.start_reconstruct(request_for(types, photograph))
    until(session, lambda: session.work.share > 0)
    pid = session._backend.pid
    session.shut_down()
    assert not is_alive(pid) and session.work is None and not session.is_busy
    assert list(session.settings.folder.glob("jobs/*")) == []


def test_the_newest_twenty_jobs_are_kept(addon, tmp_path):
    jobs = addon("addon.jobs")
    for number in range(25):
        folder = tmp_path / "jobs" / f"job-{number:02d}"
        folder.mkdir(parents=True)
        (folder / "head.npz").write_bytes(b"x")
        os.utime(folder, (1000 + number, 1000 + number))
    jobs.forget_old(tmp_path)
    assert sorted(folder.name for folder in (tmp_path / "jobs").iterdir()) == [f"job-{n:02d}" for n in range(5, 25)]
    assert len({jobs.new_folder(tmp_path) for _ in range(50)}) == 50


def test_setting_up_shows_progress_and_can_be_stopped(types, start, addon, monkeypatch):
    environment = addon("backend.environment")

    def ensure(name, progress, cancelled, **how):
        progress(environment.Progress("packages", "Installing PyTorch", 0.4, "torch", 50_000_000, 190_000_000))
        while not cancelled():
            time.sleep(0.01)
        raise environment.Cancelled()

    monkeypatch.setattr(environment, "ensure", ensure)
    monkeypatch.setattr(environment, "choose_runtime", lambda *_: "runtime")
    session = start()
    session.find_program = lambda settings: None
    session.look_again()
    assert session.state is types.State.NOT_SET_UP
    session.start_set_up(types.SetupChoice(session.settings.folder))
    assert session.state is types.State.SETTING_UP
    until(session, lambda: session.setup.bytes_done)
    assert session.setup == types.SetupProgress("Installing PyTorch", 0.4, "torch", 50_000_000, 190_000_000)
    session.cancel()
    until(session, lambda: session.setup is None)
    assert session.state is types.State.NOT_SET_UP


def test_a_set_up_that_fails_says_why_and_one_that_works_makes_ready(types, start, addon, monkeypatch):
    environment = addon("backend.environment")
    results = [
        environment.SetupError("no-network", "There is no network.", environment.Fix("retry", "Try again")),
        None,
    ]

    def ensure(name, progress, cancelled, **how):
        if result := results.pop(0):
            raise result
        return environment.Environment(name, how["root"], how["root"] / "bin" / "python")

    monkeypatch.setattr(environment, "ensure", ensure)
    monkeypatch.setattr(environment, "choose_runtime", lambda *_: "runtime")
    session = start()
    session.start_set_up(types.SetupChoice(session.settings.folder))
    until(session, lambda: session.setup is None)
    assert session.state is types.State.ERROR and session.error.code == "no-network"
    session.retry()
    until(session, lambda: session.setup is None)
    assert session.state is types.State.READY


def test_a_set_up_from_nothing_goes_on_after_a_stop_and_repairs(types, start, addon, tmp_path, monkeypatch):
    requirements, wheels = tmp_path / "requirements", tmp_path / "wheels"
    write_sets(requirements)
    sets = json.loads((requirements / "sets.json").read_text())
    (requirements / "sets.json").write_text(json.dumps({"runtime": sets["tiny"]}))
    (requirements / "tiny.txt").rename(requirements / "runtime.txt")
    wheels.mkdir()
    for name in ("first_tiny", "second_tiny"):
        make_wheel(wheels, name, "1.0", "")
    monkeypatch.setattr(addon("backend.environment"), "REQUIREMENTS", requirements)
    monkeypatch.setattr(addon("backend.environment"), "RUNTIMES", ("runtime",))
    for variable in [name for name in os.environ if name.startswith(("PIP_", "LIFEMASK_ENVIRONMENT_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    session = start()
    session.find_program = types.find_program
    session.look_again()
    assert session.state is types.State.NOT_SET_UP
    choice = types.SetupChoice(session.settings.folder, wheels=wheels)
    session.start_set_up(choice)
    until(session, lambda: "second" in session.setup.sentence, seconds=60)
    session.cancel()
    until(session, lambda: session.setup is None)
    assert session.state is types.State.NOT_SET_UP
    session.start_set_up(choice)
    until(session, lambda: session.setup is None, seconds=60)
    assert session.state is types.State.READY and session.error is None
    command = session.find_program(session.settings).command
    assert Path(command[0]).is_relative_to(session.settings.folder) and command[1:4] == ("-m", "backend", "serve")
    (lost,) = (session.settings.folder / "environments").rglob("first_tiny.py")
    lost.unlink()
    session.start_set_up(replace(choice, repair=True))
    until(session, lambda: session.setup is None, seconds=60)
    assert session.state is types.State.READY and lost.is_file()
    shutil.rmtree(session.settings.folder / "environments")
    session.look_again()
    assert session.state is types.State.NOT_SET_UP


def test_an_existing_environment_is_checked_before_it_is_used(types, start, tmp_path):
    session = start()
    session.start_set_up(types.SetupChoice(session.settings.folder, existing=tmp_path))
    until(session, lambda: session.error)
    assert session.error.code == "no-python"
    venv.create(tmp_path / "empty environment", with_pip=False, symlinks=True)
    session.start_set_up(types.SetupChoice(session.settings.folder, existing=tmp_path / "empty environment"))
    until(session, lambda: session.error)
    assert session.error.code == "broken-package"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")
