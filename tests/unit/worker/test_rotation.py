"""How long a generation lives, by the backends that it found."""

import pytest

from worker_svc.generation import Generation
from worker_svc.rotation import HURRIED_LENGTH, JITTER, MOST_HURRIED, Rotation

LENGTH = 1.8


def no_generation() -> Generation:
    raise AssertionError


@pytest.fixture
def rotation() -> Rotation:
    return Rotation(no_generation, lambda: 0, length=LENGTH, target="", name="rng")


def is_usual(length: float) -> bool:
    return LENGTH * (1 - JITTER) <= length <= LENGTH


def test_generations_that_find_as_many_or_more_live_as_long_as_they_should(rotation: Rotation) -> None:
    assert all(is_usual(rotation._next_length(found)) for found in (1, 3, 3, 4))


def test_one_that_finds_fewer_is_soon_followed_by_another(rotation: Rotation) -> None:
    rotation._next_length(3)
    assert rotation._next_length(2) == HURRIED_LENGTH
    assert is_usual(rotation._next_length(3))


def test_who_is_missing_for_long_is_no_longer_expected(rotation: Rotation) -> None:
    rotation._next_length(3)
    assert [rotation._next_length(1) for _ in range(MOST_HURRIED)] == [HURRIED_LENGTH] * MOST_HURRIED
    assert is_usual(rotation._next_length(1))
    assert is_usual(rotation._next_length(1))
