"""A search without Ray: asks Optuna for configurations, hands out trials seed by seed, hears their outcomes.

Everything is rebuilt from the ledger at the start, so a search that was killed, or that is asked for more trials, more
seeds or another space, goes on where it stood: what has ended is told to Optuna, what has not is handed out first.
"""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.graph import Arm, Experiment, Seeds, digest
from orchestrator.ledger import Ledger, attempt_name
from orchestrator.samplers import SamplerName, grid, sampler, tellable
from orchestrator.scored import objective_of
from orchestrator.storage import resume_command
from orchestrator.trial import Outcome, Place, Trial, attempt_record, with_seed
from trainers.config import keyed
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.registry import method


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
    cost: str | None = None
    """A second objective that is to be small: a name in ``Outcome.objectives``."""
    first_seed_races: bool = False
    """Whether a configuration's further seeds wait until its first one has survived the scheduler."""
    retry: frozenset[str] = field(default_factory=frozenset)
    """Statuses of ended trials that are to run again."""
    retry_trial: str | None = None
    """Only this trial of those."""
    warm_start: str | None = None
    """A sweep whose finished configurations the sampler hears first."""
    hours: float | None = None
    """After so long no further trial is handed out."""
    points: Sequence[Mapping[str, Any]] | None = None
    """Exactly these configurations instead of a search."""


class Search:
    """Ask and tell over a ledger."""

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.ledger = sweep, ledger
        self._study = optuna.create_study(directions=["maximize", "minimize"] if sweep.cost else ["maximize"])
        self._grid = grid(sweep.space, sweep.trials) if sweep.sampler == "grid" else None
        if sweep.points is not None:
            self._grid = [dict(point) for point in sweep.points]
        self._base, self._scored = base(sweep), objective_of(sweep)
        self._numbers: dict[str, list[int]] = {}
        """Configuration hash → its numbers in the study; several when it was suggested more than once."""
        self._outcomes: dict[str, Outcome] = {}
        self._handed_out: set[str] = set()
        self._trials: dict[str, list[Trial]] = {}
        """Configuration hash → its trials, by seed."""
        self._params: list[dict[str, Any]] = []
        """Of every configuration of this base, in the order in which it was asked."""
        self._queue: deque[Trial] = deque()
        self._records = 0
        self._deadline = time.monotonic() + sweep.hours * 3600 if sweep.hours is not None else None
        self.invalid: list[str] = []
        """Messages of configurations that no stage accepts."""
        self.notes: list[str] = []
        """What else a person should know of what the sampler was told."""
        self.known: list[tuple[Trial, Outcome, int]] = []
        """What had ended before this start: trial, outcome, attempt."""
        if sweep.warm_start:
            self._warm_start(Ledger(sweep.place.storage, sweep.warm_start))
        self._restore()
        if sweep.retry_trial and sweep.retry_trial not in {trial.id for trial in self._queue}:
            raise UserError(
                f"--trial {sweep.retry_trial}: the sweep {ledger.name} has no {' or '.join(sorted(sweep.retry))} trial "
                f"of this name; `nightshift leaderboard --rows --sweep {ledger.name}` lists its trials"
            )

    @property
    def again(self) -> str:
        """The command that continues."""
        return resume_command(self.sweep.place.storage, self.ledger.name)

    @property
    def total(self) -> int:
        """Trials of the whole sweep."""
        return len(self._seeds()) * self._configurations()

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """Trial id → outcome, of all that have ended."""
        return self._outcomes

    @property
    def num_open(self) -> int:
        """How many trials have not ended and still may run: the further seeds of a pruned configuration never do."""
        unasked = (self._configurations() - len(self._params)) * len(self._seeds())
        return unasked + sum(
            trial.id not in self._outcomes for trials in self._trials.values() for trial in self._runnable(trials)
        )

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to hand out; trials that run may still add seeds."""
        return not self._queue and len(self._params) >= self._configurations()

    @property
    def is_out_of_time(self) -> bool:
        """Whether ``hours`` have passed."""
        return self._deadline is not None and time.monotonic() > self._deadline

    def ranking(self) -> list[Mapping[str, Any]]:
        """The finished configurations with the most seeds, the best mean objective first."""
        objective = self.sweep.experiment.objective
        found: list[tuple[int, float, Mapping[str, Any]]] = []
        for trials in self._trials.values():
            ended = [self._outcomes[trial.id] for trial in trials if trial.id in self._outcomes]
            values = [one.objectives.get(objective) for one in ended if one.status == "finished"]
            known = [value for value in values if value is not None]
            if known:
                found.append((len(known), sum(known) / len(known), trials[0].varied))
        most = max((seeds for seeds, _, _ in found), default=0)
        whole = [one for one in found if one[0] == most]
        return [params for _, _, params in sorted(whole, key=lambda one: -one[1])]

    def next_trial(self) -> tuple[Trial, int] | None:
        """The next trial to run and the number of the attempt, or ``None`` when nothing is left to hand out."""
        if self.is_out_of_time:
            return None
        while not self._queue:
            if self.is_done:
                return None
            self._ask()
        trial = self._queue.popleft()
        self._handed_out.add(trial.id)
        return trial, self.ledger.begin(trial.id, attempt_record(trial))

    def retry(self, trial: Trial) -> None:
        """Hand ``trial`` out again, before anything new."""
        self._queue.appendleft(trial)

    def finish(self, trial: Trial, outcome: Outcome, attempt: int) -> None:
        """Record an outcome; queue the seeds that waited for it; tell the sampler once the last seed has ended."""
        self.ledger.finish(trial.id, attempt, asdict(outcome))
        self._outcomes[trial.id] = outcome
        self._enqueue(trial.config_hash)
        self._tell(trial.config_hash)

    def _configurations(self) -> int:
        if self._grid is None:
            return max(self.sweep.trials, len(self._params))
        return len(self._grid) + sum(params not in self._grid for params in self._params)

    def _seeds(self) -> range:
        return range(self.sweep.seeds.trial, self.sweep.seeds.trial + self.sweep.num_seeds)

    def _restore(self) -> None:
        """Take over what the ledger knows; the sampler hears it in the order in which it was asked.

        Records of another base (longer training, other data) keep their rows, and are neither told nor continued.
        """
        outcomes = self.ledger.outcomes()
        for name, record in self.ledger.read("asked").items():
            self._records = int(name.removeprefix("c")) + 1  # Not their number: one may have been lost.
            if record["base"] != self._base:
                continue
            trials = self._admit(record["params"], record.get("distributions", {}))
            for trial in trials:
                if trial.id in outcomes and trial.id not in self._outcomes:
                    attempt, ended = outcomes[trial.id]
                    outcome = Outcome(**ended)
                    if self._is_to_retry(trial, outcome):
                        continue
                    self._outcomes[trial.id] = outcome
                    self.known.append((trial, outcome, attempt))
            if trials:
                self._enqueue(trials[0].config_hash)
                self._tell(trials[0].config_hash)

    def _is_to_retry(self, trial: Trial, outcome: Outcome) -> bool:
        return outcome.status in self.sweep.retry and self.sweep.retry_trial in (None, trial.id)

    def _warm_start(self, other: Ledger) -> None:
        """Tell the sampler what another sweep found, as far as its fields and values lie in this space.

        Never what was scored on other images or at another size than this sweep's objective is, nor what does not say.

        Raises:
            UserError: there is no such sweep, or nothing of it was scored on the same.
        """
        import optuna

        asked, outcomes = other.read("asked"), other.outcomes()
        if not asked:
            raise UserError(f"--warm-start {other.name}: there is no such sweep in {other.root.parent}")
        comparable = [record for record in asked.values() if record.get("scored") == self._scored]
        objective, left_out = self.sweep.experiment.objective, len(asked) - len(comparable)
        why = f"their {objective} was scored on other images, at another size, or it is not known on what"
        if not comparable:
            raise UserError(f"--warm-start {other.name}: none of its {left_out} configurations can be told: {why}")
        if left_out:
            self.notes.append(f"{left_out} of {len(asked)} configurations of {other.name} are not told: {why}")
        attempts = other.read("attempts")
        seen: dict[str, list[Outcome]] = {}
        for name, (attempt, ended) in outcomes.items():
            varied = attempts.get(attempt_name(name, attempt), {}).get("varied", {})
            seen.setdefault(json.dumps(varied, sort_keys=True), []).append(Outcome(**ended))
        for record in comparable:
            params = record["params"]
            values = self._values(seen.get(json.dumps(params, sort_keys=True), []))
            space = self.sweep.space
            if values is None or set(params) != set(space):
                continue
            if all(space[name]._contains(space[name].to_internal_repr(value)) for name, value in params.items()):
                self._study.add_trial(
                    optuna.trial.create_trial(params=params, distributions=dict(space), values=values)
                )

    def _ask(self) -> None:
        """Get one configuration, write it down, queue its seeds."""
        from optuna.distributions import distribution_to_json

        params = self._propose()
        name = f"c{self._records:04d}"
        distributions = {name: json.loads(distribution_to_json(one)) for name, one in self.sweep.space.items()}
        record = {"params": params, "distributions": distributions, "base": self._base, "scored": self._scored}
        if not self.ledger.write("asked", name, record):
            raise UserError(
                f"another process runs the sweep {self.ledger.name}: it asked for {name} first; wait for it to end"
            )
        self._records += 1
        trials = self._admit(params, distributions)
        if trials:
            self._enqueue(trials[0].config_hash)
            self._tell(trials[0].config_hash)

    def _propose(self) -> dict[str, Any]:
        import optuna

        if self._grid is not None:
            return next(point for point in self._grid if point not in self._params)
        # Seeded by the number of the ask: a restart neither repeats a suggestion nor changes the sequence.
        seed = derive_seed(self.sweep.seeds.sweep, "ask", self._records) % 2**32
        self._study.sampler = sampler(self.sweep.sampler, seed)
        asked = self._study.ask(dict(self.sweep.space))
        # The trial that Optuna made is replaced by the one that ``_admit`` adds, the same way as after a restart.
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return dict(asked.params)

    def _admit(self, params: Mapping[str, Any], distributions: Mapping[str, Any]) -> list[Trial]:
        """Add a configuration to the study as running; its trials, one per seed; none if no stage accepts it."""
        import optuna

        sweep = self.sweep
        self._params.append(dict(params))
        try:
            first = Trial.of(sweep.experiment, sweep.arm, params, sweep.seeds, sweep.place)
        except UserError as error:
            self.invalid.append(str(error))
            return []
        recorded = {
            name: optuna.distributions.json_to_distribution(json.dumps(one)) for name, one in distributions.items()
        }
        self._trials[first.config_hash] = [with_seed(first, seed) for seed in self._seeds()]
        if tellable(params, recorded, sweep.space):
            running = optuna.trial.TrialState.RUNNING
            self._study.add_trial(optuna.trial.create_trial(state=running, params=dict(params), distributions=recorded))
            number = len(self._study.get_trials(deepcopy=False)) - 1
            self._numbers.setdefault(first.config_hash, []).append(number)
        return self._trials[first.config_hash]

    def _enqueue(self, config_hash: str) -> None:
        """Queue the trials of a configuration that may run now and have not been handed out."""
        trials = self._runnable(self._trials[config_hash])
        if self.sweep.first_seed_races and trials[0].id not in self._outcomes:
            trials = trials[:1]
        gone = {trial.id for trial in self._queue} | self._handed_out | set(self._outcomes)
        self._queue.extend(trial for trial in trials if trial.id not in gone)

    def _runnable(self, trials: list[Trial]) -> list[Trial]:
        """Those of a configuration's trials that run sooner or later: its racing first seed judges for all."""
        first = self._outcomes.get(trials[0].id)
        is_out = self.sweep.first_seed_races and first is not None and first.status != "finished"
        return trials[:1] if is_out else trials

    def _tell(self, config_hash: str) -> None:
        """Tell the sampler the mean over the seeds once all have ended; what the first seed has when it was pruned."""
        import optuna

        trials = self._runnable(self._trials[config_hash])
        if not all(trial.id in self._outcomes for trial in trials):
            return
        values = self._values([self._outcomes[trial.id] for trial in trials])
        for number in self._numbers.pop(config_hash, []):
            if values is not None:
                self._study.tell(number, values)
            else:
                self._study.tell(number, state=optuna.trial.TrialState.FAIL)

    def _values(self, outcomes: list[Outcome]) -> list[float] | None:
        """The objectives as means over ``outcomes``; ``None`` where one has no value."""
        names = [self.sweep.experiment.objective, *([self.sweep.cost] if self.sweep.cost else [])]
        values = [[outcome.objectives.get(name) for outcome in outcomes] for name in names]
        if not outcomes or any(value is None for column in values for value in column):
            return None
        return [sum(value for value in column if value is not None) / len(outcomes) for column in values]


def identity(sweep: Sweep) -> dict[str, Any]:
    """What makes it this sweep and no other; everything else may be edited between starts."""
    return {"experiment": sweep.experiment.name, "arm": sweep.arm.name}


def base(sweep: Sweep) -> str:
    """Hash of what all configurations of a sweep share; when it changes, its configurations are new ones."""
    experiment = sweep.experiment
    names = experiment.upstream(sweep.arm.stages(), unread=True)  # What a configuration reads, another may not.
    return digest(
        {
            "preset": experiment.preset,
            "versions": {name: method(experiment.stages[name].method).version for name in names},
            "stages": {
                name: keyed(experiment.stages[name].config.resolved(device_type=sweep.place.device_type))
                for name in names
            },
            "data": dict(sweep.place.fingerprints),
            "device": sweep.place.device_type,
            "seed_scope": sweep.seeds.scope,
            "sweep_seed": sweep.seeds.sweep,
        }
    )
