"""A search without Ray: asks Optuna for configurations, hands out trials seed by seed, hears their outcomes.

Everything is rebuilt from the ledger at the start, so a search that was killed goes on where it stood: what is finished
is told to Optuna, what is not is handed out again first.
"""

import itertools
import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.graph import Arm, Experiment, Seeds
from orchestrator.ledger import Ledger, attempt_name
from orchestrator.trial import Outcome, Place, Trial, with_seed
from trainers.data.sampling import derive_seed
from trainers.errors import UserError

if TYPE_CHECKING:
    import optuna

SamplerName = Literal["tpe", "random", "grid"]


@dataclass(frozen=True)
class Sweep:
    """What a search is."""

    experiment: Experiment
    arm: Arm
    space: Mapping[str, Any]
    """``stage.field`` → Optuna distribution."""
    trials: int
    """Configurations."""
    num_seeds: int
    seeds: Seeds
    """The first trial seed; the others follow it."""
    sampler: SamplerName
    place: Place


class Search:
    """Ask and tell over a ledger."""

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.ledger = sweep, ledger
        self._study = optuna.create_study(direction="maximize")
        self._grid = grid(sweep.space, sweep.trials) if sweep.sampler == "grid" else None
        self._numbers: dict[str, list[int]] = {}
        """Configuration hash → its numbers in the study; several when it was suggested more than once."""
        self._outcomes: dict[str, Outcome] = {}
        self._handed_out: set[str] = set()
        self._trials: dict[str, dict[str, Trial]] = {}
        """Configuration hash → trial id → trial."""
        self._queue: deque[Trial] = deque()
        self._asked = 0
        self.known: list[tuple[Trial, Outcome, int]] = []
        """What had ended before this start: trial, outcome, attempt."""
        self._restore()

    @property
    def total(self) -> int:
        """Trials of the whole sweep."""
        return len(self._seeds()) * (len(self._grid) if self._grid is not None else self.sweep.trials)

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """Trial id → outcome, of all that have ended."""
        return self._outcomes

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to hand out."""
        return not self._queue and self._asked >= self.total // len(self._seeds())

    def next_trial(self) -> tuple[Trial, int] | None:
        """The next trial to run and the number of the attempt, or ``None`` when nothing is left to hand out."""
        while not self._queue:
            if self.is_done:
                return None
            self._ask()
        trial = self._queue.popleft()
        self._handed_out.add(trial.id)
        return trial, self.ledger.begin(trial.id, {"varied": dict(trial.varied), "seed": trial.seeds.trial})

    def retry(self, trial: Trial) -> None:
        """Hand ``trial`` out again, before anything new."""
        self._queue.appendleft(trial)

    def finish(self, trial: Trial, outcome: Outcome, attempt: int) -> None:
        """Record an outcome and, when it is the configuration's last, tell the sampler."""
        self.ledger.write("outcomes", attempt_name(trial.id, attempt), asdict(outcome))
        self._outcomes[trial.id] = outcome
        self._tell(trial.config_hash)

    def _seeds(self) -> range:
        return range(self.sweep.seeds.trial, self.sweep.seeds.trial + self.sweep.num_seeds)

    def _restore(self) -> None:
        """Take over what the ledger knows; the sampler hears it in the order in which it was asked."""
        outcomes, records = self.ledger.outcomes(), self.ledger.read("asked").values()
        if self._grid is not None:  # A finer grid goes on with the points that the coarser one had not.
            asked = [record["params"] for record in records]
            self._grid = asked + [point for point in self._grid if point not in asked]
        for record in records:
            trials = self._admit(record["params"])
            for trial in trials:
                if trial.id in outcomes and trial.id not in self._outcomes:
                    attempt, outcome = outcomes[trial.id]
                    self._outcomes[trial.id] = Outcome(**outcome)
                    self.known.append((trial, self._outcomes[trial.id], attempt))
            queued = {trial.id for trial in self._queue}
            self._queue.extend(trial for trial in trials if trial.id not in {*self._outcomes, *queued})
            self._tell(trials[0].config_hash)
            self._asked += 1

    def _ask(self) -> None:
        """Get one configuration, write it down, queue the seeds of it that are not known yet."""
        params = self._propose()
        name = f"c{self._asked:04d}"
        if not self.ledger.write("asked", name, {"params": params}):
            raise UserError(
                f"another process runs the sweep {self.ledger.name}: it asked for {name} first; wait for it to end"
            )
        self._asked += 1
        trials = self._admit(params)
        known = {trial.id for trial in self._queue} | self._handed_out | set(self._outcomes)
        self._queue.extend(trial for trial in trials if trial.id not in known)
        self._tell(trials[0].config_hash)

    def _propose(self) -> dict[str, Any]:
        if self._grid is not None:
            return self._grid[self._asked]
        # Seeded by the number of the ask: a restart neither repeats a suggestion nor changes the sequence.
        self._study.sampler = sampler(
            self.sweep.sampler, derive_seed(self.sweep.seeds.sweep, "ask", self._asked) % 2**32
        )
        asked = self._study.ask(dict(self.sweep.space))
        params = dict(asked.params)
        # The trial that Optuna made is replaced by the one that ``_admit`` adds, the same way as after a restart.
        import optuna

        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return params

    def _admit(self, params: Mapping[str, Any]) -> list[Trial]:
        """Add a configuration to the study as running; its trials, one per seed."""
        import optuna

        sweep = self.sweep
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=dict(params),
                distributions={name: sweep.space[name] for name in params},
            )
        )
        first = Trial.of(sweep.experiment, sweep.arm, params, sweep.seeds, sweep.place)
        trials = [with_seed(first, seed) for seed in self._seeds()]
        self._numbers.setdefault(first.config_hash, []).append(len(self._study.get_trials(deepcopy=False)) - 1)
        self._trials[first.config_hash] = {trial.id: trial for trial in trials}
        return trials

    def _tell(self, config_hash: str) -> None:
        """Tell the sampler the mean over the seeds, once all have ended; a failed seed fails the configuration."""
        import optuna

        trials = self._trials[config_hash]
        if not all(trial_id in self._outcomes for trial_id in trials):
            return
        values = [self._outcomes[trial_id].objectives.get(self.sweep.experiment.objective) for trial_id in trials]
        present = [value for value in values if value is not None]
        for number in self._numbers.pop(config_hash, []):
            if len(present) == len(values):
                self._study.tell(number, sum(present) / len(present))
            else:
                self._study.tell(number, state=optuna.trial.TrialState.FAIL)


def sampler(name: SamplerName, seed: int) -> "optuna.samplers.BaseSampler":
    """An Optuna sampler; TPE knows that running trials are not worth repeating."""
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def grid(space: Mapping[str, Any], trials: int) -> list[dict[str, Any]]:
    """The points of a grid of about ``trials`` points: every choice of categories, numbers evenly spaced.

    Each numeric axis gets the largest number of points with which the grid has at most ``trials`` points.

    Raises:
        UserError: not even the categories fit.
    """
    from optuna.distributions import CategoricalDistribution

    choices = {name: list(one.choices) for name, one in space.items() if isinstance(one, CategoricalDistribution)}
    numeric = [name for name in space if name not in choices]
    categories = math.prod(len(values) for values in choices.values())
    each = trials // categories
    while numeric and each > 1 and categories * each ** len(numeric) > trials:
        each -= 1
    if each < 1:
        raise UserError(f"--sampler grid needs at least {categories} trials for the categories alone, got {trials}")
    axes = {name: choices[name] if name in choices else _points(space[name], each) for name in space}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _points(distribution: Any, count: int) -> list[float | int]:
    """``count`` evenly spaced values with both ends; one value lies in the middle."""
    low, high, log = distribution.low, distribution.high, distribution.log
    fractions = [0.5] if count == 1 else [index / (count - 1) for index in range(count)]
    if log:
        values = [math.exp(math.log(low) + fraction * (math.log(high) - math.log(low))) for fraction in fractions]
    else:
        values = [low + fraction * (high - low) for fraction in fractions]
    values = [min(max(value, low), high) for value in values]
    if isinstance(low, int):
        return sorted({low + round((value - low) / distribution.step) * distribution.step for value in values})
    if distribution.step:
        values = [low + round((value - low) / distribution.step) * distribution.step for value in values]
    return sorted(set(values))


def specification(sweep: Sweep) -> dict[str, Any]:
    """What makes it this sweep and no other; the numbers of trials and seeds may grow."""
    from optuna.distributions import distribution_to_json

    experiment = sweep.experiment
    return {
        "experiment": experiment.name,
        "preset": experiment.preset,
        "arm": sweep.arm.name,
        "objective": experiment.objective,
        "space": {name: json.loads(distribution_to_json(one)) for name, one in sorted(sweep.space.items())},
        "sampler": sweep.sampler,
        "seed": sweep.seeds.sweep,
        "seed_scope": sweep.seeds.scope,
        "stages": {
            name: stage.config.model_dump(mode="json")
            for name, stage in sorted(experiment.stages.items())
            if name in experiment.upstream(sweep.arm.stages())
        },
        "data": dict(sweep.place.fingerprints),
        "device": sweep.place.device_type,
    }
