"""Linear blend skinning: the definition, a joint at a time, and lids that shut on a turned head."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from backend.face_models.linear_shape import BlinkBasis, LinearShape
from backend.face_models.model_arrays import Skinning
from backend.face_models.skinning import JointRig, rotation_matrices, rotations, skinned

SEEDS = st.integers(0, 2**32 - 1)
VERTICES, PARENTS = 17, (-1, 0, 1, 1, 1)
NAMES = ("root", "neck", "jaw", "left eye", "right eye")


def random_skinning(generator: np.random.Generator, *, correctives: bool = True) -> Skinning:
    joints = len(PARENTS)
    return Skinning(
        names=NAMES,
        parents=np.array(PARENTS),
        weights=generator.dirichlet(np.ones(joints), VERTICES).astype(np.float32),
        regressor=generator.dirichlet(np.ones(VERTICES), joints).astype(np.float32),
        pose_basis=generator.normal(size=(9 * (joints - 1), VERTICES, 3)).astype(np.float32) if correctives else None,
    )


def skinned_by_hand(skinning: Skinning, vertices, joints, pose) -> np.ndarray:
    """One vertex and one joint at a time: each joint turns the point, then those above it turn what came out."""
    turns = [Rotation.from_rotvec(row).as_matrix() for row in pose]
    result = np.zeros((len(vertices), 3))
    for number, vertex in enumerate(vertices):
        place = np.array(vertex, np.float64)
        if skinning.pose_basis is not None:
            row = 0
            for turn in turns[1:]:
                for entry in (turn - np.eye(3)).ravel():
                    place = place + entry * skinning.pose_basis[row, number].astype(np.float64)
                    row += 1
        for joint in range(len(joints)):
            moved, at = place, joint
            while at >= 0:
                moved = turns[at] @ (moved - joints[at]) + joints[at]
                at = skinning.parents[at]
            result[number] += skinning.weights[number, joint] * moved
    return result


@given(SEEDS, st.booleans())
def test_skinning_is_its_definition(seed, correctives):
    generator = np.random.default_rng(seed)
    skinning = random_skinning(generator, correctives=correctives)
    vertices, pose = generator.normal(size=(VERTICES, 3)), generator.normal(size=(5, 3))
    joints = skinning.regressor @ vertices
    wanted = skinned_by_hand(skinning, vertices, joints, pose)
    np.testing.assert_allclose(skinned(skinning, vertices, joints, pose), wanted, atol=1e-9)


@given(SEEDS)
def test_torch_says_the_same_of_every_head_of_a_batch_and_of_some_vertices(seed):
    generator = np.random.default_rng(seed)
    skinning = random_skinning(generator)
    vertices, pose = generator.normal(size=(3, VERTICES, 3)), generator.normal(size=(3, 5, 3))
    joints = np.einsum("jv,bvc->bjc", skinning.regressor, vertices)
    wanted = np.stack([skinned(skinning, *head) for head in zip(vertices, joints, pose, strict=True)])
    arguments = [torch.from_numpy(values) for values in (vertices, joints, pose)]
    found = JointRig(skinning).double()(*arguments)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    few = np.array([4, 11, 4])
    some = JointRig(skinning, few).double()(arguments[0][:, few], *arguments[1:])
    np.testing.assert_allclose(some, wanted[:, few], atol=1e-9)


def test_joints_at_rest_leave_the_head_alone():
    generator = np.random.default_rng(0)
    skinning, vertices = random_skinning(generator), generator.normal(size=(VERTICES, 3))
    joints = skinning.regressor @ vertices
    np.testing.assert_allclose(skinned(skinning, vertices, joints, np.zeros((5, 3))), vertices, atol=1e-6)


def test_gradients_are_slopes_at_rest_too():
    generator = np.random.default_rng(1)
    rig = JointRig(random_skinning(generator)).double()
    joints = torch.from_numpy(generator.normal(size=(2, 5, 3))).requires_grad_()
    vertices = torch.from_numpy(generator.normal(size=(2, VERTICES, 3))).requires_grad_()
    pose = torch.from_numpy(generator.normal(size=(2, 5, 3))).requires_grad_()
    assert torch.autograd.gradcheck(rig, (vertices, joints, pose))
    slope = torch.autograd.functional.jacobian(rotation_matrices, torch.zeros(3, dtype=torch.float64))
    for axis in range(3):
        ahead, back = (rotations(sign * 1e-5 * np.eye(3)[axis]) for sign in (1, -1))
        np.testing.assert_allclose(slope[..., axis], (ahead - back) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 1.0, np.pi, 6.0])
def test_rotations_are_those_of_scipy(angle):
    axis_angle = angle * np.array([2.0, -1.0, 2.0]) / 3
    wanted = Rotation.from_rotvec(axis_angle).as_matrix()
    np.testing.assert_allclose(rotations(axis_angle), wanted, atol=1e-14)
    np.testing.assert_allclose(rotation_matrices(torch.from_numpy(axis_angle)), wanted, atol=1e-14)


def test_lengths_stay_in_single_precision_where_networks_do_not():
    generator = np.random.default_rng(2)
    rig = JointRig(random_skinning(generator))
    arguments = [torch.from_numpy(generator.normal(size=shape)).float() for shape in ((1, VERTICES, 3), (1, 5, 3))]
    pose = torch.from_numpy(generator.normal(size=(1, 5, 3))).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rig(*arguments, pose)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rig(*arguments, pose))


LIDS = np.array([3, 4, 5, 9])


@pytest.mark.parametrize("joint", ["root", "neck"])
def test_lids_shut_on_a_turned_head_as_on_the_turned_copy_of_the_shut_head(joint):
    """Offsets that were added after skinning would point along the axes of the unturned head: far off at 90 degrees."""
    generator = np.random.default_rng(3)
    skinning = random_skinning(generator, correctives=False)
    skinning.weights[:] = [0, 1, 0, 0, 0]  # all of it hangs on the neck, which hangs on the root
    offset, corrective = generator.normal(scale=0.01, size=(2, 1, len(LIDS), 3))
    nothing = np.zeros((1, VERTICES, 3))
    blink = BlinkBasis(0, LIDS, offset, corrective)
    base = generator.normal(scale=0.1, size=(VERTICES, 3))
    shape = LinearShape(base, nothing[:0], nothing, (blink,))
    open_head, shut_head = (shape(torch.zeros(1, 0), torch.tensor([[weight]])) for weight in (0.0, 1.0))
    joints = torch.from_numpy(skinning.regressor) @ open_head
    pose = torch.zeros(1, 5, 3)
    pose[0, NAMES.index(joint), 1] = np.pi / 2
    turned = JointRig(skinning)(shut_head, joints, pose)

    turn = torch.from_numpy(Rotation.from_rotvec([0, np.pi / 2, 0]).as_matrix()).float()
    pivot = joints[:, NAMES.index(joint)]
    torch.testing.assert_close(turned, (shut_head - pivot) @ turn.T + pivot, atol=1e-6, rtol=0)
    after = JointRig(skinning)(open_head, joints, pose) + (shut_head - open_head)
    assert (after - turned)[0, LIDS].norm(dim=1).min() > 0.003
