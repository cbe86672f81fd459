from hypothesis import given
from hypothesis import strategies as st

from trainers.data.sampling import derive_seed, epoch_order, sample_index


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
