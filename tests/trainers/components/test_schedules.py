import itertools

import pytest

from tests.references import schedules as reference
from trainers.components.configs import OptimizerConfig
from trainers.components.schedules import SCHEDULES, learning_rate_factor


def factors(name: str, steps: int, *, power: float = 0.9, warmup_steps: int = 0) -> list[float]:
    return [
        learning_rate_factor(name, step, steps=steps, power=power, warmup_steps=warmup_steps)
        for step in range(1, steps + 1)
    ]


def test_poly_at_half_of_the_schedule_is_the_known_number():
    assert factors("poly", 100)[50] == pytest.approx(0.5359, abs=5e-5)


@pytest.mark.parametrize("power", [0.5, 0.9, 2.0])
def test_poly_equals_the_reference(power: float):
    assert factors("poly", 17, power=power) == pytest.approx([reference.poly(done, 17, power) for done in range(17)])


def test_cosine_equals_the_reference():
    assert factors("cosine", 17) == pytest.approx([reference.cosine(done, 17) for done in range(17)])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_one_never_rises_and_stays_positive(name: str):
    values = factors(name, 20)
    assert values[0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert min(values) > 0


def test_constant_is_one():
    assert set(factors("constant", 9)) == {1.0}


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_linearly_to_the_schedule(name: str):
    plain, warmed = factors(name, 20), factors(name, 20, warmup_steps=4)
    ratios = [a / b for a, b in zip(warmed, plain, strict=True)]
    assert ratios == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 17)


def test_an_unknown_schedule_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown schedule 'polly': did you mean 'poly'"):
        OptimizerConfig(schedule="polly")
