"""What Lifemask is doing and what came of it: one state machine for the panel, the operators and the timers. No bpy.

Nothing here blocks and nothing runs by itself: `Session.tick` is called by a timer where Blender has a window
(`ticking.py`), and by a loop where it has none (`Session.run`). What is drawn reads the attributes of `session`;
`session.version` grows whenever one of them changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import face_models, jobs
from .backend_program import find_program
from .outcomes import done_with_batch, failure_of, sentence_about, with_mend
from .session_types import (
    BUSY,
    Done,
    Face,
    FacesCallback,
    FoundFaces,
    Program,
    Request,
    Settings,
    State,
    Work,
)
from .setting_up import SettingUp, SetupChoice, SetupProgress

if TYPE_CHECKING:
    from ..backend.client import Backend
    from ..backend.protocol import Failure

__all__ = [
    "BUSY", "Done", "Face", "FoundFaces", "Program", "Request", "Session", "Settings", "SetupChoice", "SetupProgress",
    "State", "Work", "failure_of", "find_program", "session",
]  # fmt: skip

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TICKS = 0.02
SECONDS_FOR_THREADS_TO_END = 2.0
ASSET_NEWS = {"add": "{} is installed.", "fetch": "{} is downloaded and installed.", "remove": "{} was removed."}


class Session:
    """The state machine. Only ever used from Blender's main thread.

    Attributes:
        settings: what the preferences say, see `configure`.
        is_set_up: whether there is an environment, as of the last look.
        setup: how far the set-up is, while it runs.
        work: what is being done, or None.
        kind: of what is or was done last, as of `Work`; "" for the set-up.
        error: what went wrong last, until `dismiss`.
        done: what was made last, until `dismiss`.
        info: what the backend process said about itself (device, face models with licences), or None.
        face_models: those that a head can be made from, the open head first.
        assets: everything that can be installed, as the backend said last; None before it was asked.
        asset_failure: why it could not say so, or None.
        news: what was done with an asset last, in a sentence, for the preferences.
        find_program: how the backend process is found; tests put another one here.
        wake: called when there is something to tick for.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.version = 0
        self.is_set_up = False
        self.setup: SetupProgress | None = None
        self.work: Work | None = None
        self.kind = ""
        self.error: Failure | None = None
        self.done: Done | None = None
        self.info: dict | None = None
        self.face_models: tuple[face_models.Asset, ...] = (face_models.THE_OPEN_HEAD,)
        self.assets: tuple[face_models.Asset, ...] | None = None
        self.asset_failure: Failure | None = None
        self.news = ""
        self.find_program: Callable[[Settings], Program | None] = find_program
        self.wake: Callable[[], None] = lambda: None
        self._backend: Backend | None = None
        self._program: Program | None = None
        self._setting_up: SettingUp | None = None
        self._running: int | None = None
        self._request: Request | None = None
        self._again: Callable[[], None] | None = None
        self._listing: int | None = None
        self._asset_label = ""
        self._faces: dict[int, tuple[Path, FacesCallback]] = {}
        self._undelivered: list[tuple[FacesCallback, FoundFaces]] = []

    @property
    def state(self) -> State:
        """Follows from the attributes, so that the two can never disagree."""
        if self.setup is not None:
            return State.SETTING_UP
        if self.work is not None:
            return State.CANCELLING if self.work.cancelling else State.WORKING
        if self.error is not None:
            return State.ERROR
        if self.done is not None:
            return State.DONE
        return State.READY if self.is_set_up else State.NOT_SET_UP

    @property
    def is_busy(self) -> bool:
        """Whether `tick` has something to do: set-up, work, faces that are looked for, a list that is asked for."""
        return self.state in BUSY or self.is_listing or bool(self._faces or self._undelivered)

    @property
    def is_listing(self) -> bool:
        """Whether the backend was asked what can be installed, and has not answered."""
        return self._listing is not None

    # What the person asks for

    def configure(self, settings: Settings) -> None:
        """Take over what the preferences say, and look whether an environment is there."""
        if settings.folder != self.settings.folder:
            self.info = self.assets = self.asset_failure = None  # they were those of the other folder
        self.settings = settings
        self.look_again()

    def look_again(self) -> None:
        """Look whether there is an environment, and which face models are installed. Reads a few small files."""
        from ..backend.environment import SetupError

        try:
            self.is_set_up = self.find_program(self.settings) is not None
        except (SetupError, OSError) as error:
            log.info("no environment: %s", error)
            self.is_set_up = False
        if self.info is None:
            self.face_models = face_models.installed_in(self.settings.folder)
        self._changed()

    def start_set_up(self, choice: SetupChoice) -> None:
        """Make, find or mend the environment in a thread. Raises LifemaskError when busy."""
        self._refuse_when_busy()
        if choice.repair:
            self.release()  # its files would be replaced below it
        self._begin(lambda: self.start_set_up(choice))
        self._setting_up = SettingUp(choice)
        self.setup = self._setting_up.progress
        self.wake()

    def cancel_set_up(self) -> None:
        """Stop the set-up. What is complete stays and is used next time."""
        if self._setting_up is not None:
            self._setting_up.cancel()
            self.setup = replace(self._setting_up.progress, sentence="Stopping")
            self._changed()

    def start_reconstruct(self, request: Request) -> None:
        """Ask for a head, or for new figures of one. Raises LifemaskError when busy; anything else becomes `error`."""
        self._refuse_when_busy()
        jobs.forget_old(self.settings.folder)
        parameters = {
            "photographs": [{"path": str(path), "face": face} for path, face in request.photographs],
            "output": str(jobs.new_folder(self.settings.folder)),
            "options": {**self._options_of_settings(), **request.options},
        }
        self._request = request
        self._start("update" if request.head else "reconstruct", "reconstruct", parameters)
        self._again = lambda: self.start_reconstruct(request)

    def start_batch(self, parameters: Mapping[str, object]) -> None:
        """Ask for many heads in files, as the backend's method `batch` takes it. Raises LifemaskError when busy."""
        self._refuse_when_busy()
        self._request = None
        options = {**self._options_of_settings(), **parameters.get("options", {})}
        self._start("batch", "batch", {**parameters, "options": options})
        self._again = lambda: self.start_batch(parameters)

    def start_asset(self, kind: str, label: str, parameters: Mapping[str, object]) -> None:
        """Add, download or remove a face model or another asset. Raises LifemaskError when busy.

        Args:
            kind: "add", "fetch" or "remove".
            label: what it is called, for the news; of a file that is added the backend says what it is.
            parameters: as the backend's methods `assets.add`, `assets.fetch` and `assets.remove` take them.
        """
        self._refuse_when_busy()
        self._request, self._asset_label, self.news = None, label, ""
        self._start(kind, f"assets.{kind}", dict(parameters))
        self._again = lambda: self.start_asset(kind, label, parameters)

    def list_assets(self) -> None:
        """Ask what is installed and what can be; the answer goes to `assets`. Never changes the state."""
        if self.is_listing:
            return
        self.asset_failure = None
        try:
            self._listing = self._backend_process().request("assets.list", {})
        except (_lifemask_error(), OSError) as error:
            self.asset_failure = failure_of(error)
        self._changed()
        self.wake()

    def find_faces(self, path: Path, callback: FacesCallback) -> None:
        """Look for the faces in a photograph; `callback` is called from `tick`. Never changes the state."""
        try:
            number = self._backend_process().request("find_faces", {"path": str(path)})
        except (_lifemask_error(), OSError) as error:
            self._undelivered.append((callback, FoundFaces(path, failure=failure_of(error))))
        else:
            self._faces[number] = (path, callback)
        self.wake()

    def cancel(self) -> None:
        """Stop whatever runs. Within a second, or by force 3 s later."""
        if self._setting_up is not None:
            self.cancel_set_up()
        elif self.work is not None and not self.work.cancelling:
            self.work.cancelling = True
            self._backend.cancel(self._running)
            self._changed()

    def retry(self) -> None:
        """Do again what failed."""
        again = self._again
        self.dismiss()
        if again is not None:
            again()

    def dismiss(self) -> None:
        """Forget what was reported: back to the photographs."""
        self.error = self.done = None
        self.look_again()

    def release(self) -> None:
        """End the backend process, so that its memory is free; the next request starts another. Not while busy."""
        self._refuse_when_busy()
        self._stop_backend()
        self._changed()

    def shut_down(self) -> None:
        """End everything that was started. Called when the add-on is disabled and when Blender ends."""
        if self._setting_up is not None:
            self._setting_up.cancel(SECONDS_FOR_THREADS_TO_END)
        self._stop_backend()
        self._setting_up = self.setup = self.work = self._running = self._request = self._again = None
        self._listing = None
        self._faces.clear()
        self._undelivered.clear()
        self._changed()

    # What happens

    def tick(self) -> None:
        """Take over what the set-up and the backend process reported. Never blocks."""
        if self._setting_up is not None:
            self._follow_set_up()
        undelivered, self._undelivered = self._undelivered, []
        for callback, found in undelivered:
            self._deliver(callback, found)
        if self._backend is not None:
            for event in self._backend.poll():
                self._take(event)

    def run(self, told: Callable[[str, float], None] | None = None) -> None:
        """Tick until nothing is to be done any more: for Blender without a window. Ctrl-C cancels.

        Args:
            told: called with a stage and its share when they change.
        """
        last = None
        while self.is_busy:
            try:
                self.tick()
                now = (self.work.stage, self.work.share) if self.work else None
                now = (self.setup.sentence, self.setup.fraction) if self.setup else now
                if told and now and now != last:
                    told(*now)
                last = now
                time.sleep(SECONDS_BETWEEN_TICKS)
            except KeyboardInterrupt:
                if self.state is not State.WORKING and self.state is not State.SETTING_UP:
                    raise
                self.cancel()

    def report_built(self, name: str, head_id: str, notes: tuple[str, ...] = ()) -> None:
        """The head of `done` is in the Blender file now; `notes` are sentences on what it took."""
        if self.done is not None:
            warnings = (*self.done.warnings, *(note for note in notes if note not in self.done.warnings))
            self.done = replace(self.done, head_name=name, head_id=head_id, waiting=False, reason="", warnings=warnings)
            self._changed()

    def report_waiting(self, reason: str) -> None:
        """The head of `done` could not be brought into the Blender file; `reason` is a sentence."""
        if self.done is not None:
            self.done = replace(self.done, waiting=True, reason=reason)
            self._changed()

    def report_error(self, error: Exception) -> None:
        """Show what went wrong elsewhere in the add-on."""
        self._fail(failure_of(error))

    # Inside

    def _refuse_when_busy(self) -> None:
        if self.state in BUSY:
            raise _lifemask_error()("busy", "Lifemask is at work. Wait until it is done, or cancel it.")

    def _begin(self, again: Callable[[], None] | None) -> None:
        self.error = self.done = None
        self.kind, self._again = "", again
        self._changed()

    def _start(self, kind: str, method: str, parameters: dict) -> None:
        self._begin(None)
        self.kind = kind
        try:
            backend = self._backend_process()
            self._running = backend.request(method, parameters)
        except (_lifemask_error(), OSError) as error:
            self._fail(failure_of(error))
            return
        self.work = Work(kind)
        self.wake()

    def _backend_process(self) -> Backend:
        """The process that the settings ask for; it is started by its first request."""
        from ..backend.client import Backend
        from ..backend.protocol import Fix, LifemaskError

        program = self.find_program(self.settings)
        if program is None:
            self.is_set_up = False
            raise LifemaskError(
                "environment-missing",
                f"The packages that Lifemask needs are not complete in {self.settings.folder}. Set it up again.",
                Fix("set-up", "Set up Lifemask"),
            )
        if self._backend is None or program != self._program:
            self._stop_backend()
            self._program = program
            self._backend = Backend(
                program.command, self.settings.folder / "logs", variables=dict(program.variables), name="backend"
            )
        return self._backend

    def _stop_backend(self) -> None:
        """Those who wait for faces are told: the numbers of the next process begin anew."""
        if self._backend is not None:
            self._backend.stop()
        self._backend = self._program = self.info = self._listing = None
        faces, self._faces = self._faces, {}
        for path, callback in faces.values():
            self._undelivered.append((callback, FoundFaces(path, failure=failure_of(_stopped()))))

    def _follow_set_up(self) -> None:
        setting_up = self._setting_up
        finished = setting_up.is_finished  # asked before the progress, so that the last one is not lost
        if self.setup is not setting_up.progress and self.setup.sentence != "Stopping":
            self.setup = setting_up.progress
            self._changed()
        if not finished:
            return
        self._setting_up = self.setup = None
        self.look_again()
        if setting_up.error is not None:
            failure = failure_of(setting_up.error)
            if failure.code != "cancelled":
                self._fail(failure)

    def _take(self, event) -> None:
        from ..backend import client

        if isinstance(event, client.Ready):
            self.info = event.info
            self.face_models = face_models.models_among(face_models.assets_from(event.info.get("face_models")))
        elif event.request == self._listing:
            self._take_assets(event)
        elif event.request in self._faces:
            self._take_faces(event)
        elif event.request != self._running or self.work is None:
            return
        elif isinstance(event, client.Progress):
            self.work.stage, self.work.share, self.work.detail = event.stage, event.share, event.detail
        elif isinstance(event, client.Finished):
            self._finish(event.value)
        elif isinstance(event, client.Failed):
            work, self.work, self._running = self.work, None, None
            if event.failure.kind != "cancelled" and not (work.cancelling and event.failure.code == "cancelled"):
                self._fail(event.failure)
        self._changed()

    def _take_assets(self, event) -> None:
        from ..backend import client

        if isinstance(event, client.Progress):
            return
        self._listing = None
        if isinstance(event, client.Failed):
            self.asset_failure = event.failure
            return
        self.assets = face_models.assets_from(event.value.get("assets"))
        self.face_models = face_models.models_among(self.assets)

    def _take_faces(self, event) -> None:
        from ..backend import client

        if isinstance(event, client.Progress):
            return
        path, callback = self._faces.pop(event.request)
        if isinstance(event, client.Failed):
            found = FoundFaces(path, failure=event.failure)
        else:
            faces = tuple(
                Face(entry["number"], tuple(entry["box"]), entry.get("usable", True)) for entry in event.value["faces"]
            )
            found = FoundFaces(path, faces, event.value["width"], event.value["height"])
        self._deliver(callback, found)

    def _deliver(self, callback: FacesCallback, found: FoundFaces) -> None:
        try:
            callback(found)
        except Exception:  # a photograph that was taken out of the list meanwhile must not stop the timer
            log.exception("the faces of %s could not be shown", found.path)

    def _finish(self, value: dict) -> None:
        work, self.work, self._running = self.work, None, None
        request, self._request = self._request, None
        if work.kind in ASSET_NEWS:
            asset = face_models.asset_from(value.get("asset"))
            self.news = ASSET_NEWS[work.kind].format(asset.label if asset else self._asset_label)
            self.list_assets()
            return
        if request is None:
            self.done = done_with_batch(value, work.seconds)
            return
        self.done = Done(
            sentence=sentence_about(request),
            landmark_error=value.get("landmark_error"),
            warnings=tuple(value.get("warnings", ())),
            seconds=work.seconds,
            folder=Path(value["folder"]),
            waiting=True,
            kind=work.kind,
            request=request,
        )

    def _options_of_settings(self) -> dict[str, object]:
        """What the preferences say of every head."""
        return {"device": self.settings.device, "for_sale": self.settings.for_sale}

    def _fail(self, failure: Failure) -> None:
        self.error = with_mend(failure)
        self._changed()

    def _changed(self) -> None:
        self.version += 1


session = Session()
"""The one of this Blender."""


def _stopped() -> Exception:
    return _lifemask_error()("stopped", "The process that looked for faces was ended. Look again.")


def _lifemask_error() -> type:
    from ..backend.protocol import LifemaskError

    return LifemaskError
