"""What every experiment must fulfil, in every preset."""

import pytest

from orchestrator.experiments import EXPERIMENTS, build, presets
from trainers.registry import method
from trainers.segmentation import supervised


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in EXPERIMENTS for preset in presets(name)])
def test_no_adaptation_is_refused_for_what_its_fields_say(name, preset, monkeypatch):
    """Each method's own refusals; no network of full size is built and no data is at hand."""
    monkeypatch.setattr(supervised, "check_network", lambda *arguments, **sizes: None)
    for stage in build(name, preset).stages.values():
        if stage.method in ("fda", "dacs", "bimix", "dannet", "self_training"):
            method(stage.method).load().check(stage.config, {})
