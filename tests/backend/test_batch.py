"""Batches: what a bad photograph costs, what is made again, what is left when one is stopped, and the ways in."""

import contextlib
import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend import batch, batch_command, batch_job, batch_report, cli, obj_file, options
from backend.batch import BatchOptions, batch_from_request, run_batch
from backend.batch_plan import read_plan
from backend.batch_report import BatchReport, Row
from backend.client import Backend
from backend.environment import clean_variables
from backend.errors import Cancelled, UsageError
from backend.options import ReconstructOptions

ROOT = Path(batch.__file__).resolve().parent.parent
FAKE = ROOT / "tests" / "fake_backend.py"
NO_FACE = {"code": "no-face", "sentence": "No face was found in it."}
ALL_FIVE = ("Ada.jpg", "Béla.png", "Chloë.jpeg", "Dana.webp", "李小龙.tif")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "Fotos, alte"
    folder.mkdir()
    for name in ALL_FIVE:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """What the fake hands out: small files of the right names."""
    folder = tmp_path / "handed out"
    folder.mkdir()
    for name in ("head.json", "head.npz", "head.fbx", "head.obj", "albedo.png"):
        (folder / name).write_text(f"this is {name}")
    return folder


@pytest.fixture
def workers(tmp_path: Path, result: Path):
    """A function that makes a maker of workers on the fake backend, whose behaviour is given by name."""

    def describe(**behaviour: object):
        told = {"seconds": 0.02, "result": str(result), "landmark_error": 0.0125, **behaviour}
        variables = clean_variables() | {"LIFEMASK_FAKE": json.dumps(told)}
        command = [sys.executable, str(FAKE), "--parent-pid", str(os.getpid())]
        return lambda: Backend(command, tmp_path / "logs", variables=variables, name="batch")

    return describe


def asked(tmp_path: Path, formats: tuple[str, ...] = ("obj", "fbx"), **how: object) -> BatchOptions:
    return BatchOptions(tmp_path / "heads", ReconstructOptions(formats=formats), **how)


def states(report) -> dict[str, str]:
    return {row.name: row.state for row in report.rows}


def half_made(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


# What comes of it


def test_one_bad_photograph_is_a_row_with_its_reason_and_one_process_makes_the_rest(photographs, tmp_path, workers):
    report = run_batch(
        read_plan(photographs), asked(tmp_path), make_worker=workers(fail_for={"Béla.png": NO_FACE}, warnings=["Dim."])
    )
    assert states(report) == {"Ada": "made", "Béla": "failed", "Chloë": "made", "Dana": "made", "李小龙": "made"}
    bad = report.rows[1]
    assert (bad.code, bad.sentence, bad.folder) == ("no-face", "No face was found in it.", "")
    good = report.rows[0]
    assert (good.landmark_error, good.warnings, good.missing) == (0.0125, ("Dim.",), ())
    assert good.seconds > 0
    if sys.platform == "linux":
        assert 1 < good.memory_mb < 1000
    assert {path.name for path in (tmp_path / "heads").iterdir() if path.is_dir()} == {"Ada", "Chloë", "Dana", "李小龙"}
    assert (tmp_path / "heads" / "李小龙" / "head.fbx").is_file()
    assert not report.is_complete and report.sentence == "4 heads made, 1 failed."
    assert len(list((tmp_path / "logs").iterdir())) == 1  # a log a process


def test_the_report_is_whole_after_every_person(photographs, tmp_path, workers, monkeypatch):
    seen = []
    write = BatchReport._write

    def write_on_a_slow_disk(report: BatchReport) -> None:
        time.sleep(0.3)
        write(report)

    monkeypatch.setattr(BatchReport, "_write", write_on_a_slow_disk)

    def look(progress) -> None:
        told = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
        seen.append((len(told["people"]), told["totals"]["left"]))
        assert len(told["people"]) >= progress.done

    make = workers(fail_for={"Dana.webp": NO_FACE}, seconds=0.3)
    run_batch(read_plan(photographs), asked(tmp_path), look, make_worker=make)
    assert seen[-1] == (5, 0) and len(set(seen)) > 2 and all(done + left == 5 for done, left in seen)
    told = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
    totals = told["totals"]
    assert (totals["made"], totals["failed"], totals["people"]) == (4, 1, 5)
    assert totals["seconds_a_head"] == pytest.approx(totals["seconds"] / 5, abs=0.1)
    with (tmp_path / "heads" / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["state"], row["sentence"]) for row in rows] == [
        (person["name"], person["state"], person["sentence"]) for person in told["people"]
    ]
    assert half_made(tmp_path / "heads") == []


def test_a_photograph_that_brings_the_process_down_costs_its_row_and_leaves_nothing(photographs, tmp_path, workers):
    report = run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers(crash_for=["Chloë.jpeg"]))
    assert states(report) == {"Ada": "made", "Béla": "made", "Chloë": "failed", "Dana": "made", "李小龙": "made"}
    crashed = report.rows[2]
    assert crashed.code == "backend-crashed" and Path(crashed.log).is_file()
    assert half_made(tmp_path / "heads") == [] and not (tmp_path / "heads" / "Chloë").exists()
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_a_person_is_made_from_those_photographs_that_can_be_used(tmp_path, workers):
    for name in ("front.jpg", "back.jpg", "left.jpg"):
        (tmp_path / "Ada" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "Ada" / name).write_text("")
    (tmp_path / "people.csv").write_text("name,photograph\nAda,Ada/front.jpg|Ada/back.jpg|Ada/gone.jpg|Ada/left.jpg\n")
    make = workers(fail_for={"back.jpg": NO_FACE})
    report = run_batch(read_plan(tmp_path / "people.csv"), asked(tmp_path), make_worker=make)
    (row,) = report.rows
    assert row.state == "made"
    assert [(Path(entry.photograph).name, entry.code) for entry in row.left_out] == [
        ("gone.jpg", "no-such-file"),
        ("back.jpg", "no-face"),
    ]


def test_the_bar_never_goes_back_where_a_head_is_begun_again(tmp_path, workers):
    (tmp_path / "people" / "Ada").mkdir(parents=True)
    for name in ("front.jpg", "back.jpg"):
        (tmp_path / "people" / "Ada" / name).write_text("")
    shares = []
    make = workers(seconds=0.4, fail_for={"back.jpg": NO_FACE})
    plan = read_plan(tmp_path / "people", per_person=True)
    run_batch(plan, asked(tmp_path), lambda progress: shares.append(progress.share), make_worker=make)
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_a_person_without_photographs_or_with_none_that_is_there_is_a_row(tmp_path, workers):
    (tmp_path / "people.csv").write_text("name,photograph\nAda,\nBo,gone.jpg\n")
    report = run_batch(read_plan(tmp_path / "people.csv"), asked(tmp_path), make_worker=workers())
    assert [(row.state, row.code) for row in report.rows] == [("failed", "no-photographs"), ("failed", "no-such-file")]


def test_a_file_that_was_asked_for_and_is_not_there_is_said_and_made_again_with_resume(photographs, tmp_path, workers):
    plan, formats = read_plan(photographs), ("obj", "usd")
    report = run_batch(plan, asked(tmp_path, formats), make_worker=workers())
    assert not report.is_complete
    assert {(row.state, row.missing, row.code) for row in report.rows} == {("made", ("usd",), "files-missing")}
    again = run_batch(plan, asked(tmp_path, formats, resume=True), make_worker=workers())
    assert set(states(again).values()) == {"made"}
    fewer = run_batch(plan, asked(tmp_path, ("obj",), resume=True), make_worker=workers())
    assert set(states(fewer).values()) == {"skipped"}


def test_names_that_are_too_long_or_no_text_are_a_row_and_never_stop_the_rest(tmp_path, workers):
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/Anna\xfc.jpg")).write_text("")
    else:
        (tmp_path / "Anna.jpg").write_text("")
    name = "Anna\udcfc.jpg" if sys.platform == "linux" else "Anna.jpg"
    table = f"name,photograph\nAda,{'x' * 300}.jpg\n"
    (tmp_path / "people.csv").write_text(table)
    bad = run_batch(read_plan(tmp_path / "people.csv"), asked(tmp_path), make_worker=workers())
    assert [(row.state, row.code) for row in bad.rows] == [("failed", "no-such-file")]
    report = run_batch(read_plan(tmp_path), asked(tmp_path), make_worker=workers())
    assert [row.state for row in report.rows] == ["made"]
    told = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
    assert told["people"][0]["photographs"] == [str(tmp_path / name)]


def test_a_report_that_cannot_be_written_for_a_while_stops_nothing(photographs, tmp_path, workers, monkeypatch):
    written, replace_file = [], batch_report.replace_file

    def sometimes(path: Path, text: str) -> None:
        written.append(path)
        if 2 < len(written) < 8:
            raise PermissionError(13, "another program has it open")
        replace_file(path, text)

    monkeypatch.setattr(batch_report, "replace_file", sometimes)
    report = run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers())
    assert report.count("made") == 5 and len(written) >= 8
    assert len(json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))["people"]) == 5


# Going on


def no_worker():
    pytest.fail("a process was started for heads that are complete")


def test_resume_starts_nothing_where_all_is_complete_and_remembers_what_was_said(photographs, tmp_path, workers):
    first = run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers(warnings=["Dim."]))
    again = run_batch(read_plan(photographs), asked(tmp_path, resume=True), make_worker=no_worker)
    assert set(states(again).values()) == {"skipped"} and again.is_complete
    assert [(row.landmark_error, row.warnings) for row in again.rows] == [
        (row.landmark_error, row.warnings) for row in first.rows
    ]


def test_resume_makes_again_what_is_half_done_or_from_another_photograph(photographs, tmp_path, workers):
    run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers())
    heads = tmp_path / "heads"
    (heads / "Ada" / "head.batch.json").unlink()  # ended before the mark was set
    (heads / "Béla" / "head.npz").write_text("torn")
    (heads / "Chloë" / "head.fbx").unlink()
    (photographs / "Dana.webp").write_text("another picture")
    (heads / "李小龙" / "my notes.txt").write_text("kept")
    report = run_batch(read_plan(photographs), asked(tmp_path, resume=True), make_worker=workers())
    assert states(report) == {"Ada": "made", "Béla": "made", "Chloë": "made", "Dana": "made", "李小龙": "skipped"}
    assert (heads / "Béla" / "head.npz").read_text() == "this is head.npz"
    assert (heads / "李小龙" / "my notes.txt").exists()


def test_a_person_of_whom_a_photograph_is_missing_is_complete_until_it_comes(photographs, tmp_path, workers):
    (tmp_path / "people.csv").write_text(f'name,photograph\nAda,"{photographs / "Ada.jpg"}|late.jpg"\n')
    plan = read_plan(tmp_path / "people.csv")
    first = run_batch(plan, asked(tmp_path), make_worker=workers())
    again = run_batch(plan, asked(tmp_path, resume=True), make_worker=no_worker)
    assert states(again) == {"Ada": "skipped"} and again.rows[0].left_out == first.rows[0].left_out
    (tmp_path / "late.jpg").write_text("here at last")
    late = run_batch(plan, asked(tmp_path, resume=True), make_worker=workers())
    assert states(late) == {"Ada": "made"} and late.rows[0].left_out == ()


def test_files_of_other_people_in_a_result_folder_do_not_make_it_half_done(photographs, tmp_path, workers):
    run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers())
    notes = tmp_path / "heads" / "Ada" / "my notes.txt"
    notes.write_text("one")
    run_batch(read_plan(photographs), asked(tmp_path, overwrite=True), make_worker=workers())
    notes.write_text("one and two")
    again = run_batch(read_plan(photographs), asked(tmp_path, resume=True), make_worker=no_worker)
    assert set(states(again).values()) == {"skipped"}


def test_a_batch_with_a_person_called_person_goes_on(tmp_path, workers):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "person.jpg").write_text("")
    plan = read_plan(tmp_path / "people")
    run_batch(plan, asked(tmp_path), make_worker=workers())
    assert states(run_batch(plan, asked(tmp_path, resume=True), make_worker=no_worker)) == {"person": "skipped"}


def test_heads_that_are_there_do_not_count_in_the_rate():
    report = BatchReport(Path("in"), Path("out"), people=1000, jobs=2)
    report._began -= 60.0
    report.rows += [Row(str(number), (), "skipped", seconds=0.5) for number in range(200)]
    assert report.seconds_a_head is None
    report.rows += [Row(str(number), (), "made", seconds=2.0) for number in range(5)]
    assert report.seconds_a_head == pytest.approx((60 - 200 * 0.5 / 2) / 5, abs=0.1)


CHANGES = {
    "texture size": {"texture_size": 512},
    "no texture": {"texture": False},
    "lens": {"focal_length_mm": 50.0},
    "preset": {"export_options": '{"preset": "unreal"}'},
}


@pytest.mark.parametrize("change", CHANGES)
def test_resume_makes_again_what_was_made_with_other_options(change, tmp_path, workers):
    (tmp_path / "Ada.jpg").write_text("")
    (tmp_path / "people.csv").write_text("name,photograph\nAda,Ada.jpg\n")
    plan = read_plan(tmp_path / "people.csv")
    run_batch(plan, asked(tmp_path), make_worker=workers())
    head = ReconstructOptions(formats=("obj", "fbx"), **CHANGES[change])
    report = run_batch(plan, BatchOptions(tmp_path / "heads", head, resume=True), make_worker=workers())
    assert states(report) == {"Ada": "made"}


def test_results_that_are_there_are_never_replaced_unasked(photographs, tmp_path, workers):
    run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers())
    with pytest.raises(UsageError, match="--resume"):
        run_batch(read_plan(photographs), asked(tmp_path), make_worker=no_worker)
    report = run_batch(read_plan(photographs), asked(tmp_path, overwrite=True), make_worker=workers())
    assert report.count("made") == 5


def test_a_folder_with_other_things_in_it_is_left_alone_and_is_a_row(photographs, tmp_path, workers):
    (tmp_path / "heads" / "Dana").mkdir(parents=True)
    (tmp_path / "heads" / "Dana" / "diary.txt").write_text("mine")
    report = run_batch(read_plan(photographs), asked(tmp_path, overwrite=True), make_worker=workers())
    assert report.rows[3].code == "output-not-empty" and report.count("made") == 4
    assert [path.name for path in (tmp_path / "heads" / "Dana").iterdir()] == ["diary.txt"]


# Stopping


def test_a_stopped_batch_removes_the_present_head_says_so_and_goes_on_later(photographs, tmp_path, workers):
    plan = read_plan(photographs)
    stop = threading.Event()

    def look(progress) -> None:
        if progress.done == 2 and progress.at_work:
            stop.set()

    report = run_batch(plan, asked(tmp_path), look, stop.is_set, make_worker=workers(seconds=0.5))
    assert states(report) == {"Ada": "made", "Béla": "made", "Chloë": "cancelled"}
    assert (report.left, report.stopped_code) == (2, "cancelled")
    told = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
    assert told["stopped"] and told["totals"]["left"] == 2 and told["people"][2]["state"] == "cancelled"
    assert half_made(tmp_path / "heads") == []
    rest = run_batch(plan, asked(tmp_path, resume=True), make_worker=workers())
    assert list(states(rest).values()) == ["skipped", "skipped", "made", "made", "made"]


def test_a_worker_that_does_not_listen_is_ended_and_leaves_no_half_result(photographs, tmp_path, workers):
    stop = threading.Event()

    def look(progress) -> None:
        if progress.at_work and progress.share > 0.002:
            stop.set()

    make = workers(seconds=60, ignore_cancel=True)
    started = time.monotonic()
    report = run_batch(read_plan(photographs), asked(tmp_path), look, stop.is_set, make_worker=make)
    assert time.monotonic() - started < 40  # of the 60 that it would take
    assert states(report) == {"Ada": "cancelled"}
    assert half_made(tmp_path / "heads") == []


@dataclass
class Program:
    """What starts a batch command in a process of its own."""

    command: list[str]
    variables: dict[str, str]


def batch_program(photographs: Path, tmp_path: Path, behaviour: dict) -> Program:
    """The batch command with the fake backend for its workers."""
    program = f"""
import os, sys
from pathlib import Path
from backend import batch, cli
from backend.client import Backend
command = [sys.executable, {str(FAKE)!r}, "--parent-pid", str(os.getpid())]
batch._serving = lambda jobs: lambda: Backend(command, Path({str(tmp_path / "logs")!r}))
cli.start.inside = lambda *_: None
sys.exit(cli.main(["batch", {str(photographs)!r}, "--output", {str(tmp_path / "heads")!r}]))
"""
    told = {"LIFEMASK_FAKE": json.dumps(behaviour), "LIFEMASK_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    return Program([sys.executable, "-c", program], os.environ | told)


@pytest.fixture
def at_work(photographs, tmp_path, result):
    """A batch command in a process of its own, at Ada's head, and the process id of its worker."""
    program = batch_program(photographs, tmp_path, {"seconds": 30, "result": str(result)})
    process = subprocess.Popen(program.command, env=program.variables, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: process.poll() is not None or list((tmp_path / "heads").glob(".Ada.partial-*")))
        (working,) = (tmp_path / "heads").glob(".Ada.partial-*")
        yield process, int(working.name.rpartition("-")[2])
    finally:
        process.kill()
        process.communicate()


def until(condition, seconds: float = 60.0) -> None:
    last_moment = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last_moment, "waited in vain"
        time.sleep(0.05)


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/status")
    return "State:\tZ" not in status.read_text() if status.exists() else True


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_terminate_leave_no_half_result_and_no_process(at_work, tmp_path, sign, code):
    process, worker = at_work
    process.send_signal(sign)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "Traceback" not in said
    if sign == signal.SIGINT:
        assert "0 of 5" in said and "--resume" in said
    assert sorted(path.name for path in (tmp_path / "heads").iterdir()) == ["report.csv", "report.json"]
    report = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
    assert report["stopped"] and report["people"][0]["state"] == "cancelled"
    assert not is_there(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_batch_that_was_killed_leaves_no_process_and_resume_makes_everything(at_work, photographs, tmp_path, workers):
    process, worker = at_work
    process.kill()
    until(lambda: not is_there(worker))
    report = run_batch(read_plan(photographs), asked(tmp_path, resume=True), make_worker=workers())
    assert report.count("made") == 5
    assert half_made(tmp_path / "heads") == []


def test_a_photograph_that_takes_for_ever_is_given_up(photographs, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(batch_job, "LONGEST_SECONDS", 0.3)
    (photographs / "Ada.jpg").rename(tmp_path / "Ada.jpg")
    (tmp_path / "people.csv").write_text("name,photograph\nAda,Ada.jpg\n")
    report = run_batch(read_plan(tmp_path / "people.csv"), asked(tmp_path), make_worker=workers(seconds=60))
    assert [(row.state, row.code) for row in report.rows] == [("failed", "took-too-long")]


FULL = {"code": "disk-full", "sentence": "The disk is full.", "kind": "usage"}
DAMAGED = {"code": "broken-package", "sentence": "cv2 is damaged.", "kind": "setup"}
HOPELESS = {
    "disk full": ({"fail": FULL}, "disk-full", 1),
    "damaged package": ({"fail": DAMAGED}, "broken-package", 1),
    "other protocol": ({"protocol": [9, 0]}, "protocol-mismatch", 1),
    "crashes always": ({"crash_at": 0.0}, "backend-crashed", batch.CRASHES_IN_A_ROW),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_would_fail_for_everybody_ends_the_batch_with_its_reason(case, photographs, tmp_path, workers):
    for number in range(3):
        (photographs / f"Z{number}.jpg").write_text("")
    behaviour, code, rows = HOPELESS[case]
    report = run_batch(read_plan(photographs), asked(tmp_path), make_worker=workers(**behaviour))
    assert report.stopped_code == code and report.stopped
    assert len(report.rows) == rows and report.left == 8 - rows
    assert half_made(tmp_path / "heads") == []


def test_two_jobs_work_at_the_same_time_in_processes_of_their_own(photographs, tmp_path, workers):
    together = set()

    def look(progress) -> None:
        together.add(len(progress.at_work))

    report = run_batch(read_plan(photographs), asked(tmp_path, jobs=2), look, make_worker=workers(seconds=0.2))
    assert report.count("made") == 5 and max(together) == 2
    assert len(list((tmp_path / "logs").iterdir())) == 2


UNWRITABLE = {
    "output is a file": ("file", None),
    "output below a file": ("file/heads", None),
    "report below a file": ("heads", "file/report.json"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_an_output_or_report_that_cannot_be_written_is_refused_before_any_work(case, photographs, tmp_path):
    (tmp_path / "file").write_text("")
    output, report = UNWRITABLE[case]
    options = BatchOptions(tmp_path / output, ReconstructOptions(), report=tmp_path / report if report else None)
    with pytest.raises(UsageError):
        run_batch(read_plan(photographs), options, make_worker=no_worker)


def test_the_report_never_takes_the_place_of_the_input_or_of_a_device(photographs, tmp_path):
    table = f'name,photograph\nAda,"{photographs / "Ada.jpg"}"\n'
    (tmp_path / "people.csv").write_text(table)
    plan = read_plan(tmp_path / "people.csv")
    with pytest.raises(UsageError, match="would replace"):
        run_batch(plan, asked(tmp_path, report=tmp_path / "people.json"), make_worker=no_worker)
    assert (tmp_path / "people.csv").read_text() == table
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="no file"):
        run_batch(plan, asked(tmp_path, report=tmp_path / "folder.json"), make_worker=no_worker)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UsageError, match="no file"):
            run_batch(plan, asked(tmp_path, report=tmp_path / "pipe"), make_worker=no_worker)
    assert not (tmp_path / "heads").exists()


@pytest.mark.skipif(not hasattr(os, "nice"), reason="needs niceness")
@pytest.mark.parametrize("niceness", [0, 5])
def test_workers_give_way_where_the_process_that_starts_them_does(niceness, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda more: niceness + more)
    assert ("--give-way" in batch._serving(1)().command) == bool(niceness)


# Ways in


class Call:
    """What the server gives a method."""

    def __init__(self):
        self.told, self.stopped = [], False

    def progress(self, stage, share, detail="") -> None:
        self.told.append((stage, share, detail))

    def cancelled(self) -> bool:
        return self.stopped


def test_the_panel_gets_a_sentence_totals_and_a_count_while_it_runs(photographs, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(batch, "_serving", lambda jobs: workers(fail_for={"Ada.jpg": NO_FACE}, seconds=0.2))
    call = Call()
    params = {"input": str(photographs), "output": str(tmp_path / "heads"), "formats": ["fbx"], "blender": ""}
    value = batch_from_request(params | {"options": {"texture_size": 1024}}, call)
    told = json.loads(Path(value["report"]).read_text("utf-8"))["options"]
    assert (told["formats"], told["texture_size"], told["portrait"]) == (["fbx"], 1024, False)
    assert value["sentence"] == "4 heads made, 1 failed." and not value["complete"]
    assert value["folder"] == str(tmp_path / "heads") and Path(value["report"]).is_file()
    assert any(stage.startswith(("Béla: ", "Chloë: ")) for stage, _, _ in call.told)
    assert any(" of 5, 1 failed, " in detail and "s a head" in detail for _, _, detail in call.told[:-1])
    shares = [share for _, share, _ in call.told]
    assert shares == sorted(shares) and shares[-1] == 1.0
    call.stopped = True
    with pytest.raises(Cancelled, match="No half-made head"):
        batch_from_request(params | {"overwrite": True}, call)


def test_a_batch_that_the_panel_cancels_says_how_far_it_came_and_leaves_nothing(photographs, tmp_path, result):
    program = f"""
import os, sys
from pathlib import Path
from backend import batch, server
from backend.client import Backend
command = [sys.executable, {str(FAKE)!r}, "--parent-pid", str(os.getpid())]
batch._serving = lambda jobs: lambda: Backend(command, Path({str(tmp_path / "logs")!r}))
handlers = {{"initialize": lambda params, call: {{"protocol": [1, 0]}}, "batch": batch.batch_from_request}}
sys.exit(server.serve(handlers))
"""
    told = {"LIFEMASK_FAKE": json.dumps({"seconds": 1.0, "result": str(result)}), "PYTHONPATH": str(ROOT)}
    panel = Backend([sys.executable, "-c", program], tmp_path / "logs", variables=os.environ | told, name="panel")
    try:
        request = panel.request("batch", {"input": str(photographs), "output": str(tmp_path / "heads")})
        details: list[str] = []
        with pytest.raises(Cancelled) as caught:
            panel.wait(
                request,
                lambda progress: details.append(progress.detail),
                lambda: bool(details and details[-1].startswith("1 of 5")),
            )
    finally:
        panel.stop()
    assert "1 head made, 1 stopped, 3 not begun." in caught.value.sentence
    report = json.loads((tmp_path / "heads" / "report.json").read_text("utf-8"))
    assert (report["stopped"], report["stopped_code"]) == ("Stopped.", "cancelled")
    assert [row["state"] for row in report["people"]] == ["made", "cancelled"]
    assert half_made(tmp_path / "heads") == []


@pytest.fixture
def in_this_process(tmp_path, workers, monkeypatch):
    """A function that runs the command here, its workers on the fake backend."""
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cli.start, "inside", lambda *_: None)
    monkeypatch.setattr(cli.start, "ensure", lambda *_, **__: None)

    def run(*arguments: object, **behaviour: object) -> int:
        monkeypatch.setattr(batch, "_serving", lambda jobs: workers(**behaviour))
        return cli.main(["batch", *map(str, arguments)])

    return run


def test_the_command_says_count_rate_time_left_and_who_failed(photographs, tmp_path, in_this_process, capfd):
    arguments = (photographs, "--output", tmp_path / "heads", "--format", "OBJ,fbx")
    assert in_this_process(*arguments, fail_for={"Béla.png": NO_FACE}) == batch_command.EXIT_SOME_FAILED
    said = capfd.readouterr().err
    assert "[2 of 5, 1 failed, " in said and "s a head, " in said and " left]" in said
    assert said.count("Béla: failed: No face was found in it.") == 2  # when it happened, and at the end
    assert "4 heads made, 1 failed." in said and "report.json" in said and "Traceback" not in said
    assert in_this_process(*arguments, "--resume") == 0
    assert "1 head made, 4 there already." in capfd.readouterr().err
    assert in_this_process(*arguments) == 2
    assert "--resume" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [100, 0])
def test_in_a_terminal_a_bar_shows_count_rate_and_time_left(columns, photographs, tmp_path, result):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    behaviour = {"seconds": 0.4, "result": str(result), "fail_for": {"Dana.webp": NO_FACE}}
    program = batch_program(photographs, tmp_path, behaviour)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(program.command, env=program.variables, stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a pseudo-terminal says that it has ended
            while part := terminal.read(4096):
                shown += part
        assert process.wait(60) == batch_command.EXIT_SOME_FAILED
    drawn = shown.decode().split("\r")
    at_work = {"Béla: ": "1/5 [", "Chloë: ": "2/5 [", "Dana: ": "3/5 ["}
    shown_with_rate = [text for text in drawn if "head" in text and "<" in text]
    assert any(name in text and count in text for name, count in at_work.items() for text in shown_with_rate)
    assert any("/5 [" in text and "1 failed" in text for text in drawn)
    assert "Dana: failed: No face was found in it." in shown.decode()


def test_the_command_ends_with_its_own_code_where_the_disk_is_full(photographs, tmp_path, in_this_process, capfd):
    assert in_this_process(photographs, "--output", tmp_path / "heads", fail=FULL) == 2
    said = capfd.readouterr().err
    assert "lifemask: The disk is full." in said and "4 not begun" in said


def test_options_of_the_command_reach_the_workers(photographs, tmp_path, monkeypatch):
    given_blender = tmp_path / "blender"
    given_blender.write_text("")
    arguments = ["batch", photographs, "--output", tmp_path / "heads", "--format", "glb", "--preset", "unreal"]
    arguments += ["--keys", "used", "--parts", "separate", "--export-texture-size", "512", "--displacement", "applied"]
    arguments += ["--blender", given_blender, "--jobs", "3", "--texture-size", "1024", "--device", "cpu"]
    chosen = cli.make_parser().parse_args(list(map(str, arguments)))
    _, told = batch_command.checked_batch(chosen)
    assert (told.jobs, told.head.formats, told.head.texture_size) == (3, ("glb", "fbx"), 1024)
    assert (told.head.device, told.head.blender, told.head.portrait) == ("cpu", given_blender, False)
    assert json.loads(told.head.export_options) == {
        "preset": "unreal", "keys": "used", "parts": "separate", "texture_size": 512, "displacement": "applied",
    }  # fmt: skip
    assert ReconstructOptions.from_request(json.loads(json.dumps(told.head.as_request()))) == told.head


WRONG = {
    "no jobs": (["--jobs", "0"], "--jobs"),
    "unknown preset": (["--preset", "maya"], "maya"),
    "options without files": (["--keys", "used"], "--format"),
    "no such Blender": (["--blender", "nowhere/blender"], "nowhere"),
    "unknown format": (["--format", "stl"], "There is no format stl"),
    "texture of the files": (["--format", "fbx", "--export-texture-size", "4"], "--export-texture-size"),
    "per person": (["--per-person"], "no sub-folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_batch_command_is_refused_with_2_before_anything_is_made(
    case, photographs, tmp_path, in_this_process, capsys
):
    arguments, words = WRONG[case]
    try:
        code = in_this_process(photographs, "--output", tmp_path / "heads", *arguments)
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2 and words in said and "Traceback" not in said
    assert not (tmp_path / "heads").exists()


def test_the_command_line_offers_what_the_addon_exports(tmp_path: Path):
    specification = importlib.util.spec_from_file_location("export_presets", ROOT / "addon" / "export_presets.py")
    presets = importlib.util.module_from_spec(specification)
    sys.modules["export_presets"] = presets
    specification.loader.exec_module(presets)
    assert {name: preset.format for name, preset in presets.PRESETS.items()} == options.PRESET_FORMATS
    assert set(options.BLENDER_FORMATS) == set(presets.FORMATS)
    assert (options.EXPORT_KEYS, options.EXPORT_PARTS) == (presets.KEYS, presets.PARTS)
    assert options.EXPORT_DISPLACEMENT == presets.DISPLACEMENT
    assert obj_file.AXES == presets.PRESETS["obj"].axes


def test_real_photographs_become_heads_in_one_process(data_folder, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the runtime packages in this interpreter")
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIFEMASK_ENVIRONMENT_RUNTIME", sys.prefix)
    (tmp_path / "people").mkdir()
    for name in ("001_neutral", "002_neutral"):
        picture = (data_folder / "photos" / "london" / f"{name}.jpg").read_bytes()
        (tmp_path / "people" / f"{name}.jpg").write_bytes(picture)
    (tmp_path / "people" / "not really.jpg").write_bytes(picture[:2000])
    head = ReconstructOptions(formats=("obj",), texture_size=128, portrait=False)
    report = run_batch(read_plan(tmp_path / "people"), BatchOptions(tmp_path / "heads", head))
    assert states(report) == {"001_neutral": "made", "002_neutral": "made", "not really": "failed"}
    assert report.rows[2].sentence.startswith("not really.jpg is")
    assert all(row.landmark_error < 0.03 for row in report.rows[:2])
    assert (tmp_path / "heads" / "002_neutral" / "head.obj").stat().st_size > 100_000
    assert len(list((tmp_path / "home" / "logs").iterdir())) == 1
