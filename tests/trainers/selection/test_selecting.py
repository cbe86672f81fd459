"""Scores against slow references, what is accepted and taken of them, and what is refused."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from pydantic import ValidationError
from torch import Tensor

from tests.references import selection as reference
from trainers.components.frechet import fit, frechet_distance
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, open_split
from trainers.data.domains import TargetImages
from trainers.errors import MethodWarning, UserError
from trainers.measures import features as features_stage
from trainers.measures.features_config import Config as FeaturesConfig
from trainers.networks.features import check_features
from trainers.networks.features_config import FeatureConfig
from trainers.selection import select_images
from trainers.selection.choosing import accept, match, take
from trainers.selection.scorers import frechet_dirac, knn_precision, mahalanobis
from trainers.selection.select_images_config import Config

pytestmark = pytest.mark.filterwarnings("ignore:a Fréchet distance")


def vectors(count: int, seed: int, *, dimensions: int = 4, spread: float = 1.0, shift: float = 0.0) -> Tensor:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(dimensions, dimensions))
    return torch.from_numpy(spread * rng.normal(size=(count, dimensions)) @ mixing + shift).float()


POOL, REFERENCE = vectors(12, 1, spread=1.5, shift=0.3), vectors(9, 2)


def test_frechet_dirac_equals_the_loop():
    found = frechet_dirac(POOL, fit(REFERENCE))
    expected = [reference.frechet_dirac(one, REFERENCE.tolist()) for one in POOL.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("copies", [2, 50])
def test_frechet_dirac_is_the_distance_of_a_set_of_copies(copies: int):
    """The limit in which a Fréchet distance of one image is defined: its copies have no spread."""
    statistics = fit(REFERENCE)
    for one, score in zip(POOL, frechet_dirac(POOL, statistics), strict=True):
        distance = frechet_distance(fit(one.expand(copies, -1)), statistics)
        assert float(score) == pytest.approx(distance.total, rel=1e-10)


def test_an_image_of_the_reference_scores_twice_the_trace_on_average():
    many = vectors(4000, 3)
    statistics = fit(many)
    scores = frechet_dirac(many, statistics)
    assert float(scores.mean()) == pytest.approx(2 * float(statistics.covariance.trace()), rel=1e-3)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_mahalanobis_equals_the_loop(shrinkage: float):
    found = mahalanobis(POOL, fit(REFERENCE), shrinkage=shrinkage)
    expected = [reference.mahalanobis(one, REFERENCE.tolist(), shrinkage) for one in POOL.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_mahalanobis_without_shrinkage_needs_more_images_than_dimensions():
    with pytest.raises(UserError, match=r"3 images in 4 dimensions cannot be inverted with shrinkage 0; raise"):
        mahalanobis(POOL, fit(REFERENCE[:3]), shrinkage=0.0)
    for seed in range(50):  # Rounding makes some of these look as if they could.
        with pytest.raises(UserError, match="4 images in 4 dimensions cannot be inverted"):
            mahalanobis(POOL, fit(vectors(4, seed)), shrinkage=0.0)
    assert mahalanobis(POOL, fit(REFERENCE[:3]), shrinkage=0.1).isfinite().all()


@pytest.mark.parametrize("neighbors", [1, 3, 8])
@pytest.mark.parametrize("rows", [2, 1024])
def test_a_score_up_to_one_is_a_place_in_a_ball(neighbors: int, rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainers.selection.scorers.ROWS_AT_ONCE", rows)
    pool = torch.cat([POOL, vectors(12, 5, spread=0.3), REFERENCE[:1]])
    scores = knn_precision(pool, REFERENCE, neighbors=neighbors)
    expected = [reference.is_in_a_ball(one, REFERENCE.tolist(), neighbors) for one in pool.tolist()]
    assert (scores <= 1).tolist() == expected
    assert float(scores[-1]) == 0
    assert neighbors == 8 or not all(expected)
    own = knn_precision(REFERENCE, REFERENCE, neighbors=neighbors, are_the_reference=True)
    assert (own > 0).all()
    for number in range(len(REFERENCE)):
        distances = [float(torch.dist(REFERENCE[number].double(), other.double())) for other in REFERENCE]
        radii = [sorted(float(torch.dist(one.double(), o.double())) for o in REFERENCE)[neighbors] for one in REFERENCE]
        ratios = [distances[j] / radii[j] for j in range(len(REFERENCE)) if j != number]
        assert float(own[number]) == pytest.approx(min(ratios), rel=1e-6)
    with pytest.raises(UserError, match="more than 9 images of the reference, got 9"):
        knn_precision(POOL, REFERENCE, neighbors=9)


SCORES = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 2.5])


@pytest.mark.parametrize(
    ("bounds", "positions", "threshold", "quantile"),
    [
        ({}, [0, 1, 2, 3, 4, 5], None, None),
        ({"threshold": 3.0}, [1, 3, 4, 5], 3.0, 4 / 6),
        ({"quantile": 0.5}, [1, 3, 5], 2.5, 0.5),
        ({"quantile": 0.34}, [1, 3, 5], 2.5, 0.5),
        ({"quantile": 1.0}, [0, 1, 2, 3, 4, 5], 5.0, 1.0),
        ({"quantile": 0.01}, [1], 1.0, 1 / 6),
        ({"threshold": 2.0, "quantile": 0.9}, [1, 3], 2.0, 2 / 6),
        ({"threshold": 9.0, "quantile": 0.5}, [1, 3, 5], 2.5, 0.5),
        ({"lower": 2.0, "threshold": 3.0}, [4, 5], 3.0, 4 / 6),
        ({"lower": 2.5}, [0, 2, 4], None, None),
    ],
)
def test_what_is_accepted(bounds: dict[str, float], positions: list[int], threshold: Any, quantile: Any):
    accepted = accept(SCORES, **{"lower": None, "threshold": None, "quantile": None, **bounds}, what="pool")
    assert accepted.positions.tolist() == positions
    assert (accepted.threshold, accepted.quantile) == (threshold, quantile)


def test_the_thesis_s_share_takes_the_thesis_s_number():
    accepted = accept(np.random.default_rng(0).random(14_937), lower=None, threshold=None, quantile=0.1071, what="pool")
    assert len(accepted.positions) == 1600


def test_a_threshold_that_lets_nothing_in_says_where_the_scores_are():
    with pytest.raises(
        UserError, match=r"no image of pool has a score up to 0\.5: scores go from 1 to 5, median 2\.75"
    ):
        accept(SCORES, lower=None, threshold=0.5, quantile=None, what="pool")
    with pytest.raises(UserError, match=r"a score above 5 and up to 9"):
        accept(SCORES, lower=5.0, threshold=9.0, quantile=None, what="pool")


def test_the_orders_take_as_many_and_the_right_ones():
    scores = np.random.default_rng(0).random(200)
    accepted = accept(scores, lower=None, threshold=0.8, quantile=None, what="pool")
    found = {
        order: take(scores, accepted, 20, order=order, seed=3, wanted=np.linspace(0.4, 0.6, 50))
        for order in ("random", "score", "quantile_match")
    }
    for positions in found.values():
        assert len(set(positions.tolist())) == 20
        assert positions.tolist() == sorted(positions.tolist())
        assert set(positions.tolist()) <= set(accepted.positions.tolist())
    assert found["score"].tolist() == sorted(np.argsort(scores)[:20].tolist())
    other = take(scores, accepted, 20, order="random", seed=4)
    assert found["random"].tolist() != other.tolist()
    assert abs(np.mean(scores[found["random"]]) - 0.4) < 0.15
    matched = scores[found["quantile_match"]]
    assert matched.min() > 0.37
    assert matched.max() < 0.63
    assert take(scores, accepted, 500, order="score", seed=3).tolist() == accepted.positions.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_matched_choice_costs_as_little_as_the_best_of_all(seed: int):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.integers(0, 6, 7).astype(float) if seed % 2 else rng.random(7))
    goals = np.sort(rng.random(3) * (6 if seed % 2 else 1))
    chosen = match(values, goals)
    assert len(set(chosen.tolist())) == 3
    cost = float(np.abs(values[chosen] - goals).sum())
    assert cost == pytest.approx(reference.nearest_choice(values.tolist(), goals.tolist()))


def taken(folder: Path, inputs: Mapping[str, Path], split: str, **fields: Any) -> Path:
    folder.mkdir(parents=True)
    config = FeaturesConfig.model_validate({"split": split, "height": 32, "width": 64, **fields})
    features_stage.check(config, inputs)
    features_stage.run(config, inputs, folder, None, PlainContext(folder / "unused"))
    return folder


@pytest.fixture(scope="module")
def sources(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Passes over a pool (day_train) and a reference (night_val): colors, and a small random network."""
    folder, roots = tmp_path_factory.mktemp("features"), {"toy_city": toy_city}
    passes = {
        "colors": ("toy_city/day_train", "colors"),
        "features": ("toy_city/day_train", "vgg16@relu1_2:random"),
        "reference": ("toy_city/night_val", "vgg16@relu1_2:random"),
    }
    made = {role: taken(folder / role, roots, split, features=name) for role, (split, name) in passes.items()}
    return {**roots, **made}


def select(output: Path, inputs: Mapping[str, Path], **fields: Any) -> dict[str, Any]:
    output.mkdir(parents=True, exist_ok=True)
    config = Config.model_validate({"pool": "toy_city/day_train", "labeled": ["toy_city/day_val"], **fields})
    select_images.check(config, inputs)
    return select_images.run(config, inputs, output, None, PlainContext(output.parent / "unused"))


def test_colors_are_the_mean_of_each_channel(sources: dict[str, Path], toy_city: Path):
    images = TargetImages({"toy_city": toy_city}, DataSplit.model_validate("toy_city/day_train"), height=32, width=64)
    expected = torch.stack([images[index][0].double().mean(dim=(1, 2)) for index in range(len(images))])
    np.testing.assert_allclose(np.load(sources["colors"] / "features.npy"), expected, rtol=1e-5)
    with pytest.raises(ValidationError, match="colors have no weights, got 'random'"):
        FeatureConfig.model_validate("colors:random")
    check_features(FeatureConfig.model_validate("colors"), {})


@pytest.mark.parametrize("scorer", ["histogram", "frechet_dirac", "mahalanobis", "knn_precision", "random"])
def test_every_scorer_reads_the_same_passes_and_leaves_a_data_set(
    scorer: str, sources: dict[str, Path], tmp_path: Path
):
    result = select(tmp_path / "out", sources, scorer=scorer, quantile=0.7, unlabeled_ratio=1.0, neighbors=2)
    table = parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert table.columns.tolist() == ["image", "score", "accepted", "chosen"]
    assert (len(table), table.accepted.sum(), table.chosen.sum()) == (7, 5, 3)
    assert (table.accepted | ~table.chosen).all()
    assert result["selection_threshold"] == table.score[table.accepted].max()
    assert result["selection_quantile"] == pytest.approx(5 / 7)
    assert {name: result[name] for name in ("images", "accepted", "pool_images", "labeled_images")} == {
        "images": 3, "accepted": 5, "pool_images": 7, "labeled_images": 3,
    }  # fmt: skip
    assert result["unlabeled_ratio"] == 1.0
    assert result["quantiles"] == pytest.approx(np.quantile(table.score, np.linspace(0, 1, 11)))
    json.dumps(result, allow_nan=False)
    roots = {**sources, "selected": tmp_path / "out"}
    samples = open_split(roots, DataSplit.model_validate("selected/train"))
    root = sources["toy_city"]
    assert [sample.image.relative_to(root).as_posix() for sample in samples] == table.image[table.chosen].tolist()
    assert all(sample.label is None for sample in samples)


def test_the_choice_is_measured_against_the_reference(sources: dict[str, Path], tmp_path: Path):
    result = select(tmp_path / "out", sources, scorer="histogram", quantile=0.5)
    chosen = parquet.read_table(tmp_path / "out" / "scores.parquet").column("chosen").to_numpy()
    passes = [torch.from_numpy(np.load(sources[role] / "features.npy")) for role in ("features", "reference")]
    expected = frechet_distance(fit(passes[0][torch.from_numpy(chosen)]), fit(passes[1]))
    assert result["fid"] == pytest.approx(expected.total)
    assert result["fid_mean_term"] + result["fid_covariance_term"] == pytest.approx(result["fid"])
    assert result["trace"] == pytest.approx(float(fit(passes[1]).covariance.trace()))
    assert result["fid_features"] == "vgg16@relu1_2:random, 4 and 3 images, symmetric eigenvalues, float64"
    colors_alone = {role: sources[role] for role in ("toy_city", "colors")}
    unmeasured = select(tmp_path / "alone", colors_alone, scorer="histogram", quantile=0.5)
    assert "fid" not in unmeasured
    assert unmeasured["selection_threshold"] == result["selection_threshold"]


def test_fewer_than_the_ratio_asks_for_are_all_taken_and_said(sources: dict[str, Path], tmp_path: Path):
    with pytest.warns(MethodWarning, match=r"unlabeled_ratio 2 asks for 6 images of toy_city/day_train, and 4 are"):
        result = select(tmp_path / "out", sources, scorer="random", quantile=0.5, unlabeled_ratio=2.0)
    assert (result["images"], result["unlabeled_ratio"]) == (4, pytest.approx(4 / 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", MethodWarning)
        assert select(tmp_path / "all", {"toy_city": sources["toy_city"]}, scorer="random")["images"] == 7
    with pytest.raises(UserError, match=r"unlabeled_ratio 0\.1 of 3 labeled images is less than one image"):
        select(tmp_path / "none", sources, scorer="random", unlabeled_ratio=0.1)


def test_a_ratio_changes_what_is_taken_and_no_score(sources: dict[str, Path], tmp_path: Path):
    scores = []
    for ratio in (0.34, 1.4):
        select(tmp_path / str(ratio), sources, order="quantile_match", unlabeled_ratio=ratio)
        scores.append(parquet.read_table(tmp_path / str(ratio) / "scores.parquet"))
    assert scores[0].column("score").equals(scores[1].column("score"))
    assert [int(table.column("chosen").to_numpy().sum()) for table in scores] == [1, 4]


def test_features_that_do_not_belong_together_are_refused(sources: dict[str, Path], tmp_path: Path, toy_city: Path):
    roots = {"toy_city": toy_city}
    other = taken(tmp_path / "other", roots, "toy_city/night_val", features="vgg16@relu2_2:random")
    with pytest.raises(UserError, match=r"the network is vgg16@relu1_2:random for one set and vgg16@relu2_2:random"):
        select(tmp_path / "out", {**sources, "reference": other})
    with pytest.raises(UserError, match=r"the features are of 3 images of toy_city/night_val, and toy_city/day_train"):
        select(tmp_path / "out", {**sources, "features": sources["reference"]})
    with pytest.raises(UserError, match=r"reads mean colors, and its input colors is of vgg16"):
        select(tmp_path / "out", {**sources, "colors": sources["features"]}, scorer="histogram")


def test_the_same_is_refused_before_anything_is_taken():
    config = Config.model_validate({"pool": "toy_city/night_pool", "labeled": ["toy_city/day_train"]})

    def taken_with(split: str, features: str = "inception") -> FeaturesConfig:
        return FeaturesConfig.model_validate({"split": split, "features": features, "height": 32, "width": 64})

    sources = {"features": taken_with("toy_city/night_pool"), "reference": taken_with("toy_city/night_train")}
    select_images.check_sources(config, sources)
    with pytest.raises(UserError, match="scorer frechet_dirac needs the inputs features and reference; reference miss"):
        select_images.check_sources(config, {"features": sources["features"]})
    with pytest.raises(UserError, match="features is inception@2048 of one set and inception@64 of the other"):
        select_images.check_sources(config, {**sources, "reference": taken_with("toy_city/day_train", "inception@64")})
    with pytest.raises(UserError, match="the input features is of toy_city/day_val, and images are selected from"):
        select_images.check_sources(config, {**sources, "features": taken_with("toy_city/day_val")})
    with pytest.raises(UserError, match="scorer histogram needs the inputs colors; colors missing"):
        select_images.check_sources(config.model_copy(update={"scorer": "histogram"}), sources)
    with pytest.raises(ValidationError, match="order quantile_match needs scores of a reference, and histogram has"):
        Config.model_validate({**config.model_dump(), "scorer": "histogram", "order": "quantile_match"})


def test_chosen_by_brightness_more_images_are_truly_night(tmp_path: Path):
    """Of a pool of which 45 % is; the band is where the labeled-free real nights lie. Provenance is read here alone."""
    from trainers.data.toy_city import write_tree

    root = tmp_path / "city"
    list(write_tree(root, seed=0, height=32, width=64, counts={"day": {"train": 2}, "night": {"train": 24}},
                    night_pool=60))  # fmt: skip
    roots = {"toy_city": root}
    nights = taken(tmp_path / "nights", roots, "toy_city/night_train", features="colors")
    inputs = {**roots, "colors": taken(tmp_path / "colors", roots, "toy_city/night_pool", features="colors")}
    ends = np.quantile(np.load(nights / "features.npy") @ [0.5, 1, 1] / (255 * 2.5 / 100), [0.1, 0.9])
    fields = {"pool": "toy_city/night_pool", "labeled": ["toy_city/day_train"], "scorer": "histogram"}
    select(tmp_path / "out", inputs, **fields, lower=float(ends[0]), threshold=float(ends[1]))
    found, base = reference.precision_by_provenance(tmp_path / "out" / "scores.parquet",
                                                    root / "night_pool" / "provenance.csv")  # fmt: skip
    assert base == pytest.approx(0.45)
    assert found > base + 0.2
