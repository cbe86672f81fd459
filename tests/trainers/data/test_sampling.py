import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.sampling import RareClasses, derive_seed, epoch_order, sample_index
from trainers.errors import UserError


def drawn(seed: int, steps: range, *, batch_size: int, num_samples: int) -> list[int]:
    return [
        sample_index(seed, step, slot, batch_size=batch_size, num_samples=num_samples)
        for step in steps
        for slot in range(batch_size)
    ]


@given(seed=st.integers(0, 2**63 - 1), batch_size=st.integers(1, 7), num_samples=st.integers(1, 12))
def test_every_epoch_is_a_permutation(seed: int, batch_size: int, num_samples: int):
    """Also where an epoch ends in the middle of a batch."""
    indices = drawn(seed, range(1, num_samples + 1), batch_size=batch_size, num_samples=num_samples)
    for epoch in range(batch_size):
        assert sorted(indices[epoch * num_samples : (epoch + 1) * num_samples]) == list(range(num_samples))


@given(seed=st.integers(0, 2**63 - 1), first=st.integers(1, 50))
def test_a_sample_is_a_pure_function_of_seed_step_and_slot(seed: int, first: int):
    whole = drawn(seed, range(1, 60), batch_size=3, num_samples=7)
    epoch_order.cache_clear()
    assert drawn(seed, range(first, 60), batch_size=3, num_samples=7) == whole[3 * (first - 1) :]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(seed, epoch, 20)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@given(st.lists(st.one_of(st.integers(0, 300), st.sampled_from(["a", "step", "order"])), min_size=1, max_size=4))
def test_a_derived_seed_fits_every_generator_and_repeats(parts: list[int | str]):
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*parts)


def test_near_inputs_give_unrelated_seeds():
    seeds = {derive_seed(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600
    assert derive_seed(1, 12) != derive_seed(11, 2)
    assert len({seed % 2 for seed in seeds}) == 2


PIXELS = np.zeros((6, 19), dtype=np.int64)
PIXELS[:, 0] = 900
PIXELS[0, 13], PIXELS[1, 13], PIXELS[2, 13] = 300, 100, 5
PIXELS[3, 18] = 40


def test_rare_classes_follow_the_formula_of_daformer():
    rare = RareClasses.of(PIXELS, temperature=0.1, min_pixels=30.0)
    total = 6 * 900 + 405 + 40
    weights = [math.exp((1 - pixels / total) / 0.1) for pixels in (5400, 405, 40)]
    found = rare.probabilities[[0, 13, 18]].tolist()
    assert found == pytest.approx([weight / sum(weights) for weight in weights])
    assert rare.probabilities.sum() == pytest.approx(1)
    assert [one.tolist() for one in (rare.images[0], rare.images[13], rare.images[18], rare.images[5])] == [
        [0, 1, 2, 3, 4, 5], [0, 1], [3], []]  # fmt: skip


def test_a_class_that_no_image_shows_is_never_drawn_and_a_low_temperature_does_not_overflow():
    rare = RareClasses.of(PIXELS, temperature=1e-4, min_pixels=150.0)
    assert np.flatnonzero(rare.probabilities).tolist() == [13]
    draws = [rare.draw(0, step, slot) for step in range(1, 20) for slot in range(4)]
    assert set(draws) == {(13, 0)}
    with pytest.raises(UserError, match=r"no image holds 5000 pixels of any class; lower rare_classes\.min_share"):
        RareClasses.of(PIXELS, temperature=0.1, min_pixels=5000.0)


def test_draws_have_the_probabilities_and_depend_on_seed_step_and_slot_alone():
    rare = RareClasses.of(PIXELS, temperature=0.5, min_pixels=30.0)
    draws = [rare.draw(0, step, slot) for step in range(1, 501) for slot in range(4)]
    assert draws == [rare.draw(0, step, slot) for step in range(1, 501) for slot in range(4)]
    assert draws[:40] != [rare.draw(1, step, slot) for step in range(1, 11) for slot in range(4)]
    counts = np.bincount([train_id for train_id, _ in draws], minlength=19) / len(draws)
    assert np.abs(counts - rare.probabilities).max() < 0.04  # 3.6 deviations of 2000 draws.
    assert {index for train_id, index in draws if train_id == 13} == {0, 1}
