"""Which classes a law adds to recombined label maps."""

from pathlib import Path

import numpy as np
import pytest

from tests.references import recombination as reference
from tests.trainers.data.recombining import label_maps, run, split
from trainers.components.class_laws import LAWS
from trainers.context import PlainContext
from trainers.data import recombine, recombiner
from trainers.data.datasets import open_split
from trainers.data.recombine_config import Config


@pytest.fixture
def roots(toy_city: Path) -> dict[str, Path]:
    return {"toy_city": toy_city}


@pytest.mark.parametrize("law", ["uniform", "inverse_square_root"])
def test_frequencies_move_towards_the_law(law: str, roots: dict[str, Path], tmp_path: Path):
    names = ["traffic_light", "traffic_sign", "person", "car", "building"]
    fields = {"classes": names, "law": law, "classes_per_map": 2, "ratio": 3.0}
    result = run(tmp_path / "out", roots, **fields)
    before = reference.count([one.tolist() for one in label_maps(open_split(roots, split("toy_city/day_train")))])
    made = {"recombined": tmp_path / "out"}
    added = reference.count([one.tolist() for one in label_maps(open_split(made, split("recombined/maps")))])
    wanted = reference.law_shares({name: before[name] for name in names}, law)
    distances = [
        reference.distance({name: pixels[name] for name in names}, wanted)
        for pixels in (before, {name: before[name] + added[name] for name in names})
    ]
    assert result["distance_to_law"] == pytest.approx({"before": distances[0], "after": distances[1]})
    assert distances[1] < 0.97 * distances[0]
    filled = [
        min(pixels[name] / sum(pixels[one] for one in names) / wanted[name] for name in names)
        for pixels in (before, {name: before[name] + added[name] for name in names})
    ]
    assert result["least_filled"] == pytest.approx({"before": filled[0], "after": filled[1]})
    assert filled[1] > 1.5 * filled[0]


@pytest.mark.parametrize("law", ["uniform", "inverse_square_root"])
def test_the_plan_of_a_law_fills_it_more_than_any_other(
    law: str, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By its least filled class, which is what a plan raises; against the other laws and classes drawn at random."""
    names = ["traffic_sign", "fence", "person", "car"]
    before = reference.count([one.tolist() for one in label_maps(open_split(roots, split("toy_city/day_train")))])
    wanted = reference.law_shares({name: before[name] for name in names}, law)
    fields = {"classes": names, "classes_per_map": 1, "ratio": 8.0, "pictures": 0}
    shares = {other: run(tmp_path / other, roots, law=other, **fields)["shares_after"] for other in LAWS}

    def at_random(pixels: np.ndarray, *_: np.ndarray, maps: int, classes_per_map: int) -> np.ndarray:
        return np.random.default_rng(0).integers(len(pixels), size=(maps, classes_per_map))

    monkeypatch.setattr(recombiner, "plan_classes", at_random)
    shares["random"] = run(tmp_path / "random", roots, law=law, **fields)["shares_after"]
    filled = {
        plan: min(found[name] / sum(found[one] for one in names) / wanted[name] for name in names)
        for plan, found in shares.items()
    }
    others = [value for plan, value in filled.items() if plan != law]
    assert len(others) == 3
    assert filled[law] > 1.05 * max(others)


def test_a_law_counts_on_what_a_paste_really_adds(roots: dict[str, Path], tmp_path: Path):
    """A building behind cars, and upon other buildings, adds a part of its area."""
    names = ["building", "car", "traffic_light"]
    config = Config.model_validate({"split": "toy_city/day_train", "classes": names})
    maps = recombine.SplitMaps(open_split(roots, config.split), size=None, images=False, cache_bytes=1 << 20)
    bank = recombine._bank(config, maps, PlainContext(tmp_path))
    candidates = recombine.pasteable(config, bank, maps.pixels(config.min_share))
    gains = recombiner.expected_gains(config, maps, bank, candidates, 0)
    assert np.array_equal(gains, recombiner.expected_gains(config, maps, bank, candidates, 0))
    for train_id, gain in zip(candidates.tolist(), gains.tolist(), strict=True):
        alone = recombine.Recombiner(config, maps, bank, candidates, np.full((70, 1), train_id), 1)
        added = [
            (recombine.TRAIN_IDS[alone[number][0].labels] == train_id).sum() - bank.pixels[alone.base(number), train_id]
            for number in range(70)
        ]
        assert gain == pytest.approx(np.mean(added), rel=0.35)
    assert bank.pixels[:, candidates[0]].mean() > 5 * gains[0]


def test_another_law_adds_other_classes(roots: dict[str, Path], tmp_path: Path):
    """Under the natural law what is frequent is added too; under the uniform one only what is rare."""
    shares = {}
    for law in ("natural", "uniform"):
        fields = {"classes": ["traffic_light", "building"], "law": law, "classes_per_map": 1, "ratio": 3.0}
        shares[law] = run(tmp_path / law, roots, **fields)["shares_supplement"]
    assert shares["uniform"]["traffic_light"] > shares["natural"]["traffic_light"]
    assert shares["uniform"]["building"] < shares["natural"]["building"]
