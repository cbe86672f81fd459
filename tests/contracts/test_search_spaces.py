"""A search space names fields of its method's configuration, and everything that it offers is valid there."""

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from pydantic import BaseModel, ValidationError

from orchestrator.experiments import EXPERIMENTS, presets
from search_spaces import SPACES, space
from trainers.errors import UserError
from trainers.registry import METHODS


def configs(name: str) -> Iterator[BaseModel]:
    """The configurations that the experiments give to the method called ``name``."""
    for experiment in EXPERIMENTS:
        for build in presets(experiment).values():
            yield from (stage.config for stage in build().stages.values() if stage.method == name)


def changed(config: BaseModel, values: dict[str, Any]) -> BaseModel:
    """``config`` with dotted fields replaced, validated anew."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    for dotted, value in values.items():
        *parents, leaf = dotted.split(".")
        inner = dumped
        for parent in parents:
            inner = inner[parent]
        assert leaf in inner
        inner[leaf] = value
    return type(config).model_validate(dumped)


def read(config: BaseModel, dotted: str) -> Any:
    value: Any = config
    for part in dotted.split("."):
        assert part in type(value).model_fields, f"{type(value).__name__} has no field {part!r} ({dotted})"
        value = getattr(value, part)
    return value


def ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high


@pytest.mark.parametrize("name", SPACES)
def test_a_space_varies_fields_of_a_method_that_an_experiment_uses(name: str):
    method, distributions = space(name)
    assert method in METHODS
    assert distributions
    assert list(configs(method))
    for config in configs(method):
        for dotted in distributions:
            read(config, dotted)


@pytest.mark.parametrize("name", SPACES)
def test_both_ends_of_every_range_are_valid(name: str):
    method, distributions = space(name)
    for config in configs(method):
        for dotted, distribution in distributions.items():
            for value in ends(distribution):
                assert read(changed(config, {dotted: value}), dotted) == value


@pytest.mark.parametrize("name", SPACES)
def test_fifty_samples_are_valid(name: str):
    method, distributions = space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    samples = [study.ask(distributions).params for _ in range(50)]
    assert len({tuple(sample.values()) for sample in samples}) > 1
    for config in configs(method):
        for sample in samples:
            assert sample.keys() == distributions.keys()
            changed(config, sample)


def test_a_value_beyond_the_range_of_the_field_would_be_refused():
    """So the tests above can fail."""
    with pytest.raises(ValidationError):
        changed(next(configs("supervised")), {"loss.alpha": 1.1})


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_search_of_an_experiment_names_a_space_of_its_stage_s_method(experiment: str):
    for build in presets(experiment).values():
        built = build()
        for stages in built.searches.values():
            for stage, name in stages.items():
                assert space(name)[0] == built.stages[stage].method


def test_an_unknown_space_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown search space 'loss_alfa': did you mean 'loss_alpha'"):
        space("loss_alfa")
