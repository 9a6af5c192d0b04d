"""Fits one head to the landmarks of one or several photographs of a person.

The unknowns are one identity and, for each photograph, a pose, a focal length and the weights of the expression keys.
All are found together by Gauss-Newton on the landmark residuals, whitened by the detector's calibrated covariance
(`backend/calibration.py`), under the population prior of the identity (coefficients are standard normal) and a sparse
prior on the expression. Where a method's network has looked at the photographs too (`backend/methods`), its identity
takes the place of the population's, its expression is a measurement, and the fit starts from both. What the lids do
belongs to the keys: the lid closure that is read from the photograph is given as a measurement of `eyeBlink*`, so that
a shut eye does not make the person's eyes smaller.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from backend.calibration import LandmarkCalibration, ViewDirection
from backend.code_measurement import CodeMeasurement, identity_prior
from backend.face_models.eyes import GAZE_KEY_DEGREES
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.morphable_model import KeyOffsets, MorphableModel, SurfacePoints
from backend.lid_rig import SIDES
from backend.lids import closure as lid_closure
from backend.rendering.camera import Camera

# MediaPipe's mesh: the face outline, which slides along the silhouette; right and left are the subject's.
FACE_CONTOUR = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
                152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
LIDS = {
    "right": (7, 163, 144, 145, 153, 154, 155, 173, 157, 158, 159, 160, 161, 246,
              247, 30, 29, 27, 28, 56, 190, 112, 26, 22, 23, 24, 110, 25),
    "left": (249, 390, 373, 374, 380, 381, 382, 398, 384, 385, 386, 387, 388, 466,
             467, 260, 259, 257, 258, 286, 414, 341, 256, 252, 253, 254, 339, 255),
}  # fmt: skip
OUTER_EYE_CORNER = {"right": 33, "left": 263}
IRIS_CENTRE = {"right": 468, "left": 473}
IRIS_POINTS = tuple(range(468, 478))

NOT_FITTED = ("eyeLook", "tongueOut", "Corrective")  # the gaze has a closed form; no landmark sees the tongue
EXPRESSION_RATE = 8.0  # of the exponential prior on key weights: mean weight 1/8
EXPRESSION_DEVIATION = 0.5
HARDLY_SEEN = {
    "cheekPuff": 0.1,
    "jawForward": 0.1,
    "jawLeft": 0.15,
    "jawRight": 0.15,
    "mouthLeft": 0.1,
    "mouthRight": 0.1,
    "mouthPressLeft": 0.15,
    "mouthPressRight": 0.15,
    "mouthShrugUpper": 0.2,
    "mouthShrugLower": 0.2,
    "cheekSquintLeft": 0.2,
    "cheekSquintRight": 0.2,
}
CLOSURE_DEVIATION = 0.08
WIDE_ENDS_AT = 0.1  # closure; a person does not open an eye wide and shut it
CLOSED_LID_NOISE = 4.0  # lid landmarks of a closing eye say little of the person's own eye
CAMERA_DISTANCE_M, CAMERA_DISTANCE_LOG_DEVIATION = 0.8, 0.45  # where no focal length is known
KNOWN_FOCAL_LOG_DEVIATION = 0.03
EXPRESSION_NOISE_INFLATION = 0.7  # once the identity is settled, the face is to follow the photograph closely
NOISE_INFLATION = 3.0  # real photographs against the renders that the calibration was learnt from
SHARED_NOISE_PER_PHOTOGRAPH = 0.3  # a detector errs alike on every photograph of one person
HUBER_DEVIATIONS = 2.5
NOT_SEEN = 100.0  # times the deviation of landmarks that say nothing
LEAST_TRUST = 0.5  # in the place of a landmark on a face model that was registered to the open head
OUTER_ITERATIONS, INNER_ITERATIONS = 6, 3
EXPRESSION_ITERATIONS = 2  # further outer ones, with the identity held


@dataclass(frozen=True)
class Observation:
    """What is known of one photograph before the fit.

    Attributes:
        points: (478, 2) float64 pixels, the detector's landmarks.
        width, height: of the photograph, pixels.
        focal: focal length in pixels, None where unknown.
        closure: eye state read from the picture, {"left": 0..1, "right": 0..1}, the subject's own sides; None: unknown.
        codes: identity and expression as a network sees them; None: only the landmarks speak.
    """

    points: np.ndarray
    width: int
    height: int
    focal: float | None = None
    closure: dict[str, float] | None = None
    codes: CodeMeasurement | None = None


@dataclass
class FittedPhotograph:
    """One photograph after the fit.

    Attributes:
        camera: the matched camera.
        key_weights: (keys,) float32 in [0, 1], in the order of the head's key names, correctives included.
        posed: (V, 3) float32 metres, expression, lids and gaze, in the head-centred frame.
        landmarks: (478, 2) float64 pixels, the fitted points.
        landmark_error: median distance to the detections, face outline and irises left out, over the distance of the
            outer eye corners.
        closure: {"left", "right"} of the mesh, 0 the person's own open eye, 1 shut.
        view: from where the head is seen.
    """

    camera: Camera
    key_weights: np.ndarray
    posed: np.ndarray
    landmarks: np.ndarray
    landmark_error: float
    closure: dict[str, float]
    view: ViewDirection


@dataclass
class FittedHead:
    """One person: `neutral` (V, 3) float32 metres with open eyes, and what each photograph shows of them."""

    model: MorphableModel
    identity: np.ndarray
    neutral: np.ndarray
    keys: KeyOffsets
    photographs: list[FittedPhotograph] = field(default_factory=list)


@dataclass
class _State:
    """The unknowns of one photograph."""

    rotation: np.ndarray
    translation: np.ndarray
    log_focal: float
    weights: np.ndarray  # of the fitted keys
    embedding: SurfacePoints | None = None
    deviation: np.ndarray | None = None  # (956,) metres, of each residual
    metres_per_pixel: float = 0.0
    unroll: np.ndarray | None = None


def fit(model: MorphableModel, calibration: LandmarkCalibration, observations: list[Observation]) -> FittedHead:
    """Fits one head to the photographs of one person.

    Args:
        model: the face model; the calibration's points are brought to it from the open head.
        calibration: of the detector that found the points.
        observations: one for each photograph, at least one.

    Returns:
        The head; its photographs in the order of `observations`.
    """
    return _Fit(model, calibration, observations).run()


class _Fit:
    def __init__(self, model, calibration, observations):
        self.model, self.calibration, self.observations = model, calibration, observations
        self.mean = model.mean.astype(np.float64)
        self.keys = model.key_offsets(model.neutral(np.zeros(model.identity_size, np.float32)))
        self.key_names = list(self.keys.names)
        self.fitted = [i for i, n in enumerate(self.key_names) if not any(part in n for part in NOT_FITTED)]
        self.fitted_names = [self.key_names[i] for i in self.fitted]
        said = [each.codes for each in observations if each.codes is not None and each.codes.identity is not None]
        measured = [model.own_measurement(codes) for codes in said]
        self.expected, self.uncertainty = identity_prior(measured, model.identity_size)
        self.identity = self.expected.copy()
        self.identity_is_held = False
        self.identity_by_vertex = model.identity_basis.transpose(1, 0, 2).reshape(len(self.mean), -1)
        self.states = [self._initial_state(observation) for observation in observations]

    def run(self) -> FittedHead:
        for outer in range(OUTER_ITERATIONS + EXPRESSION_ITERATIONS):
            self.identity_is_held = outer >= OUTER_ITERATIONS
            if outer == OUTER_ITERATIONS // 2:  # the lids of this person instead of those of the mean
                self.keys = self.model.key_offsets(self.model.neutral(self.identity.astype(np.float32)))
            key_basis = self.keys.dense(len(self.mean))[self.fitted].astype(np.float64)
            for state, observation in zip(self.states, self.observations, strict=True):
                self._relinearise(state, observation, key_basis, robust=outer > 0)
            pieces = [self._reduced(state, key_basis) for state in self.states]
            for _ in range(INNER_ITERATIONS):
                self._step(pieces)
        return self._result()

    def _initial_state(self, observation: Observation) -> _State:
        """Pose of the expected head by PnP on the inner face."""
        measured = observation.codes.keys if observation.codes is not None else {}
        weights = np.array([measured.get(name, (0.0, 0.0))[0] for name in self.fitted_names])
        focal = observation.focal or 1.3 * max(observation.width, observation.height)
        inner = np.setdiff1d(np.arange(468), FACE_CONTOUR)
        key_basis = self.keys.dense(len(self.mean))[self.fitted].astype(np.float64)
        expected = self._vertices(weights, key_basis)
        embedding, trust = self.model.from_open_head(self.calibration.embedding(ViewDirection(0.0, 0.0)))
        inner = inner[trust[inner] > LEAST_TRUST]
        surface = embedding.apply(expected)[inner]
        intrinsics = np.array([[focal, 0, observation.width / 2], [0, focal, observation.height / 2], [0, 0, 1]])
        _, axis, translation = cv2.solvePnP(
            surface, observation.points[inner].astype(np.float64), intrinsics, None, flags=cv2.SOLVEPNP_SQPNP
        )
        rotation, translation = cv2.Rodrigues(axis)[0], translation[:, 0]
        if observation.focal is None:  # at the distance of a portrait, the face as large as it is
            factor = CAMERA_DISTANCE_M / translation[2]
            focal, translation = focal * factor, translation * np.array([1, 1, factor])
        return _State(rotation, translation, float(np.log(focal)), weights)

    def _vertices(self, weights: np.ndarray, key_basis: np.ndarray) -> np.ndarray:
        shape = self.mean + np.tensordot(self.identity, self.model.identity_basis, 1)
        return shape + np.tensordot(weights, key_basis, 1)

    def _relinearise(self, state: _State, observation: Observation, key_basis: np.ndarray, robust: bool) -> None:
        """Takes embedding and covariance for the present view, and downweights landmarks that fit badly."""
        view = ViewDirection.from_pose(state.rotation, state.translation)
        state.embedding, trust = self.model.from_open_head(self.calibration.embedding(view))
        points = observation.points
        right, left = points[OUTER_EYE_CORNER["right"]], points[OUTER_EYE_CORNER["left"]]
        across = (left - right) / np.linalg.norm(left - right)
        state.unroll = np.array([[across[0], across[1]], [-across[1], across[0]]])
        state.metres_per_pixel = state.translation[2] / np.exp(state.log_focal)
        several = np.sqrt(1 + SHARED_NOISE_PER_PHOTOGRAPH * (len(self.observations) - 1))
        inflation = EXPRESSION_NOISE_INFLATION if self.identity_is_held else NOISE_INFLATION * several
        deviation = self.calibration.deviation_in(view) * inflation
        scale = np.ones(len(points))
        scale[list(IRIS_POINTS)] = NOT_SEEN  # the gaze is found from them afterwards
        scale[trust < LEAST_TRUST] = NOT_SEEN  # this face model has no such place
        for side, lids in LIDS.items():
            closure = max((o.closure or {}).get(side, 0.0) for o in self.observations)
            scale[list(lids)] += (CLOSED_LID_NOISE - 1) * np.clip((closure - 0.15) / 0.2, 0, 1)
        if robust:
            surface = state.embedding.apply(self._vertices(state.weights, key_basis))  # (478, 3)
            residual = (_project(surface, state, observation)[0] - points) * state.metres_per_pixel
            size = np.linalg.norm(residual, axis=1) / (deviation * scale)
            scale *= np.sqrt(np.maximum(size / HUBER_DEVIATIONS, 1.0))
        state.deviation = np.repeat(deviation * scale, 2)

    def _whitened_squares(self, jacobian: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J^T C^-1 J and J^T C^-1 r of standardised rows, whose correlation C is F F^T + diag(own variance).

        By the matrix inversion lemma, so that no 956 x 956 matrix is needed.
        """
        own = np.sqrt(self.calibration.own_variance)
        factor = self.calibration.factor / own[:, None]
        both = np.column_stack([jacobian, residual]) / own[:, None]
        shared = factor.T @ both
        inner = np.linalg.solve(np.eye(factor.shape[1]) + factor.T @ factor, shared)
        products = both[:, :-1].T @ both - shared[:, :-1].T @ inner
        return products[:, :-1], products[:, -1]

    def _reduced(self, state: _State, key_basis: np.ndarray):
        """The linear model at the landmarks: mean (L, 3), identity (K, L, 3), keys (E, L, 3)."""
        places = state.embedding
        rows = np.repeat(np.arange(len(places.vertices)), places.vertices.shape[1])
        entries = places.barycentric.ravel(), (rows, places.vertices.ravel())
        matrix = csr_matrix(entries, shape=(len(places.vertices), len(self.mean)))
        keys = (matrix @ key_basis.transpose(1, 0, 2).reshape(len(self.mean), -1)).reshape(-1, len(key_basis), 3)
        identity = (matrix @ self.identity_by_vertex).reshape(len(places.vertices), -1, 3)
        return matrix @ self.mean, identity.transpose(1, 0, 2), keys.transpose(1, 0, 2)

    def _step(self, pieces) -> None:
        """One Gauss-Newton step of all unknowns, key weights kept within [0, 1]."""
        identities, keys, count = len(self.identity), len(self.fitted), len(self.states)
        block = 7 + keys
        size = identities + count * block
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        hessian[np.arange(identities), np.arange(identities)] = 1 / self.uncertainty**2
        gradient[:identities] = (self.identity - self.expected) / self.uncertainty**2
        lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
        for p, (state, observation, (mean, identity_basis, key_basis)) in enumerate(
            zip(self.states, self.observations, pieces, strict=True)
        ):
            surface = mean + np.tensordot(self.identity, identity_basis, 1) + np.tensordot(state.weights, key_basis, 1)
            projected, by_point, by_pose = _project(surface, state, observation, jacobian=True)
            unknown = np.concatenate([identity_basis, key_basis])  # (K + E, L, 3)
            by_shape = np.einsum("lij,klj->lik", by_point, unknown)  # (L, 2, K + E)
            jacobian = np.concatenate([by_shape[..., :identities], by_pose, by_shape[..., identities:]], axis=2)
            to_metres = state.metres_per_pixel * state.unroll
            jacobian = np.einsum("ij,ljk->lik", to_metres, jacobian).reshape(-1, identities + block)
            residual = ((projected - observation.points) @ to_metres.T).reshape(-1)
            squares, slope = self._whitened_squares(jacobian / state.deviation[:, None], residual / state.deviation)
            columns = np.r_[0:identities, identities + p * block : identities + (p + 1) * block]
            hessian[np.ix_(columns, columns)] += squares
            gradient[columns] += slope
            start = identities + p * block
            self._add_priors(state, observation, hessian, gradient, start)
            lower[start + 7 : start + block] = -state.weights
            upper[start + 7 : start + block] = 1 - state.weights
        if self.identity_is_held:
            step = np.zeros(size)
            rest = slice(identities, size)
            step[rest] = _bounded_solve(hessian[rest, rest], -gradient[rest], lower[rest], upper[rest])
        else:
            step = _bounded_solve(hessian, -gradient, lower, upper)
        self.identity = self.identity + step[:identities]
        for p, state in enumerate(self.states):
            part = step[identities + p * block : identities + (p + 1) * block]
            turn = part[:3] * min(1.0, 0.5 / max(np.linalg.norm(part[:3]), 1e-9))
            state.rotation = cv2.Rodrigues(turn)[0] @ state.rotation
            state.translation = state.translation + part[3:6]
            state.translation[2] = max(state.translation[2], 0.08)
            state.log_focal += float(np.clip(part[6], -0.5, 0.5))
            state.weights = np.clip(state.weights + part[7:], 0, 1)

    def _add_priors(self, state: _State, observation: Observation, hessian, gradient, start: int) -> None:
        def add(column, value, deviation):
            hessian[column, column] += 1 / deviation**2
            gradient[column] += value / deviation**2

        focal = start + 6
        if observation.focal:
            add(focal, state.log_focal - np.log(observation.focal), KNOWN_FOCAL_LOG_DEVIATION)
        else:
            depth = state.translation[2]
            slope = 1 / (depth * CAMERA_DISTANCE_LOG_DEVIATION)
            hessian[start + 5, start + 5] += slope**2
            gradient[start + 5] += slope * np.log(depth / CAMERA_DISTANCE_M) / CAMERA_DISTANCE_LOG_DEVIATION
        for k, name in enumerate(self.fitted_names):
            column = start + 7 + k
            side = "left" if name.endswith("Left") else "right"
            if name.startswith("eyeBlink") and observation.closure is not None:
                add(column, state.weights[k] - observation.closure[side], CLOSURE_DEVIATION)
                continue
            if observation.codes is not None and name in observation.codes.keys:
                weight, deviation = observation.codes.keys[name]
                add(column, state.weights[k] - weight, deviation)
            add(column, state.weights[k], HARDLY_SEEN.get(name, EXPRESSION_DEVIATION))
            gradient[column] += EXPRESSION_RATE

    def _result(self) -> FittedHead:
        identity = self.identity.astype(np.float32)
        neutral = self.model.neutral(identity)
        keys = self.model.key_offsets(neutral)
        # The model's neutral is centred between its eyeballs, the linear shape of the fit only nearly.
        linear = self.mean + np.tensordot(self.identity, self.model.identity_basis, 1)
        head = FittedHead(self.model, identity, neutral, keys)
        shift = np.median(linear - neutral, axis=0)
        for state, observation in zip(self.states, self.observations, strict=True):
            state.translation = state.translation + state.rotation @ shift
            head.photographs.append(self._fitted_photograph(state, observation, neutral, keys))
        return head

    def _fitted_photograph(self, state, observation, neutral, keys) -> FittedPhotograph:
        focal = float(np.exp(state.log_focal))
        camera = Camera(
            focal, focal, observation.width / 2, observation.height / 2, observation.width, observation.height,
            state.rotation, state.translation,
        )  # fmt: skip
        weights = dict.fromkeys(self.key_names, 0.0)
        weights.update(zip(self.fitted_names, state.weights, strict=True))
        weights.update(self._gaze(camera, observation, neutral, keys, weights))
        if observation.closure is not None:
            self._shut_lids(neutral, keys, weights, observation.closure)
        _set_correctives(weights)
        values = np.array([weights.get(name, 0.0) for name in keys.names])
        values = np.where(values < 0.005, 0.0, values).astype(np.float32)
        posed = keys.apply(neutral, values)
        landmarks = camera.project(state.embedding.apply(posed.astype(np.float64)))
        inner = np.setdiff1d(np.arange(468), FACE_CONTOUR)
        across = np.linalg.norm(observation.points[263] - observation.points[33])
        error = np.median(np.linalg.norm(landmarks - observation.points, axis=1)[inner]) / across
        closure = {side: lid_closure(posed, neutral, self.model.rig, side) for side in SIDES}
        view = ViewDirection.from_pose(state.rotation, state.translation)
        return FittedPhotograph(camera, values, posed, landmarks, float(error), closure, view)

    def _shut_lids(self, neutral, keys, weights: dict[str, float], closure: dict[str, float]) -> None:
        """Sets the blinks so that the lids of the mesh, other keys included, are as shut as the photograph's."""
        for side in SIDES:
            name = f"eyeBlink{side.title()}"
            if closure[side] > WIDE_ENDS_AT:
                weights[f"eyeWide{side.title()}"] = 0.0
            low, high = 0.0, 1.0
            weights[name] = 0.0 if closure[side] <= 0 else 1.0 if closure[side] >= 1 else closure[side]
            while 0 < closure[side] < 1 and high - low > 0.01:
                blink = weights[name]
                _set_correctives(weights)
                reached = lid_closure(keys.apply(neutral, weights), neutral, self.model.rig, side)
                low, high = (blink, high) if reached < closure[side] else (low, blink)
                weights[name] = (low + high) / 2

    def _gaze(self, camera, observation, neutral, keys, weights) -> dict[str, float]:
        """The eyeLook* weights that bring the mesh's irises to the detected ones."""
        angles = {}
        irises = self.model.landmarks478(neutral)
        for side, centre in zip(SIDES, self.model.eye_centres(neutral), strict=True):
            if weights[f"eyeBlink{side.title()}"] < 0.6:
                landmark = IRIS_CENTRE[side]
                distance = np.linalg.norm(irises[landmark] - centre)
                angles[side] = _gaze_direction(camera, observation.points[landmark], centre, distance)
        if not angles:
            return {}
        both = np.mean(list(angles.values()), axis=0)
        result = {}
        for side in SIDES:
            yaw, pitch = (angles.get(side, both) + both) / 2  # the eyes of a person move together
            outward = yaw if side == "left" else -yaw
            values = {"Out": outward, "In": -outward, "Up": pitch, "Down": -pitch}
            for name, angle in values.items():
                result[f"eyeLook{name}{side.title()}"] = float(np.clip(angle / GAZE_KEY_DEGREES, 0, 1))
        return result


def _set_correctives(weights: dict[str, float]) -> None:
    """Each corrective follows its blink w as 4 w (1 - w)."""
    for driver, corrective in ((f"eyeBlink{side.title()}", BLINK_CORRECTIVES[side]) for side in SIDES):
        weights[corrective] = 4 * weights[driver] * (1 - weights[driver])


def _project(surface, state, observation, jacobian=False):
    """Pixels of points of the head, with derivatives by point (L, 2, 3) and by turn, shift, log focal (L, 2, 7)."""
    focal = np.exp(state.log_focal)
    turned = surface @ state.rotation.T
    x, y, z = (turned + state.translation).T
    z = np.maximum(z, 1e-3)
    centred = focal * np.stack([x / z, y / z], axis=1)
    projected = centred + [observation.width / 2, observation.height / 2]
    if not jacobian:
        return projected, None, None
    by_camera = np.zeros((len(surface), 2, 3))
    by_camera[:, 0, 0] = by_camera[:, 1, 1] = focal / z
    by_camera[:, 0, 2], by_camera[:, 1, 2] = -focal * x / z**2, -focal * y / z**2
    by_point = by_camera @ state.rotation
    cross = np.zeros((len(surface), 3, 3))  # of a turn applied after the rotation: -[R p]x
    a, b, c = turned.T
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = c, -b, a
    cross[:, 1, 0], cross[:, 2, 0], cross[:, 2, 1] = -c, b, -a
    by_pose = np.concatenate([by_camera @ cross, by_camera, centred[:, :, None]], axis=2)
    return projected, by_point, by_pose


def _bounded_solve(hessian, right, lower, upper) -> np.ndarray:
    """min ½ xᵀHx − rᵀx within bounds that contain zero, by an active set of clamped unknowns."""
    step = np.zeros(len(right))
    free = np.ones(len(right), bool)
    for _ in range(12):
        held = ~free
        step[free] = np.linalg.solve(
            hessian[np.ix_(free, free)], right[free] - hessian[np.ix_(free, held)] @ step[held]
        )
        outside = free & ((step < lower - 1e-9) | (step > upper + 1e-9))
        step = np.clip(step, lower, upper)
        slope = hessian @ step - right
        release = held & (((step <= lower) & (slope < -1e-6)) | ((step >= upper) & (slope > 1e-6)))
        if not outside.any() and not release.any():
            break
        free = (free & ~outside) | release
    return step


def _gaze_direction(camera: Camera, iris: np.ndarray, centre: np.ndarray, iris_distance: float) -> np.ndarray:
    """Yaw (towards the subject's left) and pitch (up) of an eye in degrees, from its iris centre in the photograph.

    The line of sight through the iris meets the sphere round the eyeball's centre on which the iris lies.
    """
    eye = camera.rotation @ centre + camera.translation
    ray = np.array([(iris[0] - camera.cx) / camera.fx, (iris[1] - camera.cy) / camera.fy, 1.0])
    ray /= np.linalg.norm(ray)
    along = ray @ eye
    beside = np.sqrt(max(eye @ eye - along**2, 0.0))
    depth = np.sqrt(max(iris_distance**2 - beside**2, 0.0))
    x, y, z = camera.rotation.T @ (ray * (along - depth) - eye)
    return np.degrees([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))])
