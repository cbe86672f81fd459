"""Scores at the labels' own size, as published tables have them: what every preset with real data asks for."""

from orchestrator.graph import Experiment


def scored_at_label_size(experiment: Experiment) -> Experiment:
    """The same graph, whose evaluations resize predictions to the labels and not labels to the network's input."""
    return experiment.with_configs(
        {
            name: stage.config.model_copy(update={"score_size": "label"})
            for name, stage in experiment.stages.items()
            if stage.method == "evaluation"
        }
    )
