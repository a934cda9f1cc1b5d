"""Registration recovers an affine that is known, whatever the contrast."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.preprocessing import register
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError


def known_matrix() -> NDArray[np.float64]:
    """Scan -> MNI152: pitched by 12, yawed by 8 degrees, a head of 0.81 of the size, somewhere else."""
    a, b = np.deg2rad([12, 8])
    pitch = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    yaw = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = pitch @ yaw @ np.diag([1.1, 1.05, 1.07])
    matrix[:3, 3] = 25, -40, 60
    return matrix


def template_as_scan(inverted: bool) -> tuple[Scan, NDArray[np.bool_]]:
    """The template with a header that says it lies elsewhere: the truth is then known exactly."""
    image, brain = register.load_template()
    if inverted:
        image = np.where(brain, 1.25 - image, 0).astype(np.float32)
    return Scan(image, np.linalg.inv(known_matrix()) @ register.WORKING.affine), brain


@cache
def registered(inverted: bool) -> register.Registration:
    return register.register_brain(*template_as_scan(inverted), "template")


@pytest.mark.thorough
@pytest.mark.parametrize("inverted", [False, True], ids=["same contrast", "inverted contrast"])
def test_a_known_affine_is_recovered_within_two_millimetres(inverted: bool) -> None:
    scan, brain = template_as_scan(inverted)
    found = registered(inverted)
    points = np.argwhere(brain)[::500] @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    error = points @ (found.matrix - known_matrix())[:3, :3].T + (found.matrix - known_matrix())[:3, 3]
    assert np.linalg.norm(error, axis=1).max() < 2
    assert found.determinant == pytest.approx(np.linalg.det(known_matrix()), rel=0.03)
    assert found.dice > 0.97
    assert (-found.correlation if inverted else found.correlation) > 0.85


@pytest.mark.thorough
def test_the_same_scan_gives_the_same_bits() -> None:
    again = register.register_brain(*template_as_scan(inverted=False), "template")
    assert again.matrix.tobytes() == registered(inverted=False).matrix.tobytes()


@pytest.mark.thorough
def test_what_is_no_brain_is_refused_with_the_figures() -> None:
    random = np.random.default_rng(0)
    plate = np.zeros((60, 60, 60), bool)
    plate[5:55, 5:55, 28:32] = True
    image = Scan(random.random(plate.shape).astype(np.float32), np.diag([3.0, 3, 3, 1]))
    with pytest.raises(SubjectError, match=r"plate could not be registered.*Dice of the brain masks 0\."):
        register.register_brain(image, plate, "plate")


def test_a_flip_is_refused() -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    half_turn = np.diag([-1.0, -1, 1, 1])  # swaps left and right although its determinant is 1
    for matrix in (flip, half_turn):
        found = register.Registration(matrix, 0.99, 0.9, float(np.linalg.det(matrix[:3, :3])))
        with pytest.raises(SubjectError, match=r"cosine of an axis -1\.00"):
            register._checked(found, "flipped")
