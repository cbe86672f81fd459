"""Which groups fit, against brute force over all placements; what is refused, and how."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.resources import groups_that_fit, require_fit
from trainers.errors import UserError


def node(cpus, gpus=0):
    return {"CPU": cpus, "GPU": gpus, "memory": 1e9, "node:127.0.0.1": 1.0}


def bundle(cpus, gpus=0.0):
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}


def most_by_force(nodes, workers, cpus, gpus):
    """The most groups over every assignment of identical workers to nodes."""
    each = [min(int(one["CPU"] // cpus), int(one["GPU"] // gpus) if gpus else 10**6) for one in nodes]
    best = 0
    for counts in itertools.product(*(range(most + 1) for most in each)):
        best = max(best, sum(counts) // workers)
    return best


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 1),
)
def test_first_fit_finds_as_many_groups_as_any_placement(sizes, workers, cpus, gpus):
    """For identical workers of whole devices first fit is the best there is."""
    nodes = [node(*size) for size in sizes]
    found = groups_that_fit(nodes, [bundle(cpus, gpus)] * workers)
    assert found == most_by_force(nodes, workers, cpus, gpus)


def test_a_group_may_span_nodes_and_a_worker_may_not():
    assert groups_that_fit([node(1), node(1)], [bundle(1)] * 2) == 1
    assert groups_that_fit([node(1), node(1)], [bundle(2)]) == 0


@pytest.mark.parametrize(
    ("gpus", "devices", "fit"), [(0.5, 1, 2), (0.5, 2, 4), (0.6, 2, 2), (0.1, 1, 10), (1.0, 3, 3), (0.3, 1, 3)]
)
def test_a_fraction_of_a_gpu_lies_on_one_device(gpus, devices, fit):
    assert groups_that_fit([node(100, devices)], [bundle(1, gpus)]) == fit


def refusal(nodes, bundles):
    with pytest.raises(UserError) as error:
        require_fit(nodes, bundles)
    return str(error.value)


def test_what_can_never_fit_is_refused_with_what_is_missing():
    require_fit([node(2, 1)], [bundle(2, 1.0)])
    said = refusal([node(2), node(1)], [bundle(2)] * 2)
    for part in ("2 x (2 CPU)", "2 CPU, 0 GPU; 1 CPU", "1 CPU too few", "--cpus-per-worker"):
        assert part in said
    assert "1 GPU too few" in refusal([node(8, 1)], [bundle(1, 1.0)] * 2)
    assert "no way to place them on its nodes" in refusal([node(1), node(1)], [bundle(2)])
