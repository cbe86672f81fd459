import numpy as np
import pytest
from scipy import stats

from results import exports
from results.columns import CLASS_SCORES
from results.leaderboard import (
    LeaderboardError,
    best,
    by_config,
    compare,
    cost,
    curves,
    curves_by_config,
    load,
    optimism,
    pareto,
    per_class,
)  # fmt: skip
from results.store import write_curves, write_scores

BASE = (0.40, 0.50, 0.48)
GAIN = (0.05, 0.06, 0.055)


@pytest.fixture
def board(tmp_path, make_row, make_failure):
    """``base``; ``better`` by about 0.055 on the same seeds; ``noisy``, as good as base; ``single`` with one seed."""
    scores = {
        "base": BASE,
        "better": [one + gain for one, gain in zip(BASE, GAIN, strict=True)],
        "noisy": (0.52, 0.41, 0.40),
        "single": (0.30,),
    }
    rows = []
    for number, (arm, values) in enumerate(scores.items()):
        for seed, miou in enumerate(values):
            classes = {"iou.car": miou, "iou.road": miou + 0.25}
            cost = {"seconds": 100.0 * (number + 1), "seconds_saved": 0.0}
            name = {"arm": arm, "trial": f"t{number}{seed}", "config_hash": f"c00{number}", "alpha": number / 4}
            rows.append(make_row(seed=seed, miou=miou, **name, **classes, **cost))
    rows.append(make_failure(arm="base", seed=7, trial="t99", config_hash="c000", alpha=0.0))
    write_scores(tmp_path, rows)
    return tmp_path


def one(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_places_say_what_the_seeds_can_tell_apart(board):
    table = by_config(load(board)).set_index("arm")
    assert table["rank"].to_dict() == {"better": 1, "base": 2, "noisy": 3, "single": 4}
    # better − base is 0.055 ± 0.0124; better − noisy covers 0, but base, above it, leads the second group.
    assert table["place"].to_dict() == {"better": "1", "base": "2–4", "noisy": "2–4", "single": "2–4"}
    winners = best(load(board), by="arm").set_index("arm")
    assert winners["place"].to_dict() == table["place"].to_dict()


def test_places_do_not_mix_evaluation_sets_or_scopes(tmp_path, make_row):
    rows = [
        make_row(
            trial=f"t{seed}{number}", seed=seed, miou=0.3 + number / 10 + seed / 1000, config_hash=f"c{number}", **more
        )
        for number in range(2)
        for seed in range(3)
        for more in ({}, {"evaluation_set": "night", "sweep": "b"}, {"seed_scope": "all", "sweep": "c"})
    ]  # fmt: skip
    write_scores(tmp_path, rows)
    table = by_config(load(tmp_path))
    assert sorted(table["place"]) == ["1", "1", "1", "2", "2", "2"]


def test_compare_is_the_paired_test_of_scipy(board):
    row = one(compare(load(board), "base", "better"))
    better = np.add(BASE, GAIN)
    expected = stats.ttest_rel(better, BASE)
    assert (row["n"], row["test"], row["verdict"], row["note"]) == (3, "paired t", "better", None)
    assert row["difference"] == pytest.approx(0.055, rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    assert row["p"] == row["p_holm"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert (row["baseline_mean"], row["other_mean"]) == pytest.approx((np.mean(BASE), better.mean()))
    assert one(compare(load(board), "better", "base"))["verdict"] == "worse"
    assert one(compare(load(board), "base", "noisy"))["verdict"] == "tie"


def test_several_comparisons_are_corrected(board):
    table = compare(load(board), "base", "better", "noisy", "single", metric=["miou", "iou.car"])
    assert len(table) == 6
    tested = table["p"].notna()
    assert tested.sum() == 4
    smallest = table["p"].idxmin()
    assert table.loc[smallest, "p_holm"] == pytest.approx(4 * table.loc[smallest, "p"])
    single = table[table["other"] == "single"]
    assert single["verdict"].tolist() == ["unknown"] * 2
    assert single["note"].tolist() == ["1 common seed: no interval (--seeds runs more)"] * 2


def test_lower_is_better_for_a_distance(tmp_path, make_row):
    rows = [
        make_row(arm=arm, seed=seed, trial=f"t{arm}{seed}", config_hash=f"c{code}", fid=fid + seed)
        for arm, code, fid in (("a", "aaa", 50.0), ("b", "bbb", 30.0))
        for seed in range(3)
    ]
    write_scores(tmp_path, rows)
    row = one(compare(load(tmp_path), "a", "b", metric="fid"))
    assert (row["difference"], row["verdict"]) == (-20.0, "better")


def test_without_a_common_seed_the_test_is_unpaired(tmp_path, make_row):
    after = (0.55, 0.57, 0.60)
    rows = [make_row(seed=seed, trial=f"t{seed}", config_hash="caaa", arm="a", miou=m) for seed, m in enumerate(BASE)]
    rows += [make_row(seed=9 + n, trial=f"u{n}", config_hash="cbbb", arm="b", miou=m) for n, m in enumerate(after)]
    write_scores(tmp_path, rows)
    row = one(compare(load(tmp_path), "a", "b"))
    assert row["test"] == "Welch t"
    assert row["p"] == pytest.approx(stats.ttest_ind(after, BASE, equal_var=False).pvalue, rel=1e-9)


def test_what_can_be_named(board, make_row):
    write_scores(board, [make_row(arm="better", seed=8, trial="t80", config_hash="c0ff", sweep="other", alpha=0.9)])
    frame = load(board)
    for name in ("base", "first:base", "c000", "arm=base", "arm=base,segmenter.loss.alpha<0.1"):
        assert set(compare(frame, name, "noisy")["baseline_config"]) == {"c000"}
    # Of an arm's configurations the best on the select split among those with the most seeds.
    assert one(compare(frame, "base", "better"))["other_config"] == "c001"
    assert one(compare(frame, "base", "other"))["other_config"] == "c0ff"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("base", "beter"), "no arm, sweep, sweep:arm or configuration 'beter': did you mean better"),
        (("base", "first:noisi"), "did you mean first:noisy"),
        (("base", "base"), "named twice"),
        (("base", "c000"), "'base' and 'c000' are the same configuration, c000"),
        (("base", "c00"), "'c00'"),
        (("base", "arm=nobody"), "no row satisfies 'arm=nobody'"),
        (("base", "amr=base"), "no column 'amr'"),
        (("base",), "at least two"),
    ],
)
def test_compare_refuses_in_one_line(board, names, message):
    with pytest.raises(LeaderboardError) as caught:
        compare(load(board), *names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"seed_scope": "all"}, {"preset": "real"}, {"experiment": "camvid"}])
def test_what_differs_in_its_protocol_is_never_compared(board, make_row, changes):
    write_scores(board, [make_row(arm="far", trial="t70", config_hash="cfff", **changes)])
    (name,) = changes
    with pytest.raises(LeaderboardError, match=f"different {name} are never compared"):
        compare(load(board), "base", "far")


def test_a_trial_that_did_not_finish_is_not_compared(board, make_failure):
    write_scores(board, [make_failure(arm="dead", trial="t71", config_hash="cddd")])
    with pytest.raises(LeaderboardError, match="no trial of 'dead' has finished"):
        compare(load(board), "base", "dead")


def test_the_pareto_front(board):
    table = pareto(load(board)).set_index("arm")
    # 100, 200, 300, 400 s: base is the cheapest, better the best; the others are beaten in both.
    assert table["on_front"].to_dict() == {"better": True, "base": True, "noisy": False, "single": False}
    assert table.loc["base", ["score_mean", "cost_mean"]].tolist() == pytest.approx([0.46, 100])
    worst = pareto(load(board), cost="worst_iou").set_index("arm")
    assert worst.loc["better", "cost_mean"] == pytest.approx(0.515)
    assert worst["on_front"].to_dict() == {"better": True, "base": False, "noisy": False, "single": False}
    with pytest.raises(LeaderboardError, match="did you mean seconds"):
        pareto(load(board), cost="second")


def test_seconds_of_hits_count_for_the_front(tmp_path, make_row):
    rows = [
        make_row(trial="t1", config_hash="caaa", miou=0.5, seconds=10.0, seconds_saved=90.0),
        make_row(trial="t2", config_hash="cbbb", miou=0.5, seconds=50.0, seconds_saved=None),
    ]
    write_scores(tmp_path, rows)
    assert pareto(load(tmp_path)).set_index("config_hash")["on_front"].to_dict() == {"caaa": False, "cbbb": True}
    assert pareto(load(tmp_path), cost="seconds").set_index("config_hash")["on_front"].to_dict()["caaa"]


def test_classes_with_their_frequency(tmp_path, make_row):
    counts = np.zeros((19, 19), dtype=int)
    counts[0, :2] = 60, 15  # road
    counts[13, 13] = 25  # car
    rows = [
        make_row(seed=seed, trial=f"t{seed}", confusion=counts.ravel().tolist(), **{"iou.road": road, "iou.car": 0.9})
        for seed, road in enumerate((0.5, 0.7))
    ]
    write_scores(tmp_path, rows)
    table = per_class(load(tmp_path)).set_index("class")
    assert CLASS_SCORES[13] == "iou.car"
    assert list(table.index) == ["road", "car"]
    assert table.loc["road", ["n", "mean", "frequency"]].tolist() == pytest.approx([2, 0.6, 0.75])
    assert table.loc["road", "sd"] == pytest.approx(0.1 * np.sqrt(2))
    assert table.loc["car", "frequency"] == 0.25


def stage(name, key, seconds, hit=False):
    return {"name": name, "key": key, "hit": hit, "seconds": seconds}


def test_what_a_sweep_cost_and_what_sharing_saved(tmp_path, make_row, make_failure):
    """Two sweeps over one city of 100 s; four trainings of 10 s, of which the second sweep repeats one."""
    trains = {"t1": ("first", "k1"), "t2": ("first", "k2"), "t3": ("second", "k2"), "t4": ("second", "k3")}
    rows = [
        make_row(sweep=sweep, trial=trial, evaluation_set=split, config_hash=f"c{trial}",
                 stages=[stage("city", "city", 100.0, hit=True), stage("train", key, 10.0)])
        for trial, (sweep, key) in trains.items()
        for split in ("day_val", "night_val")
    ]  # fmt: skip
    write_scores(tmp_path, [*rows, make_failure(sweep="second", trial="t5", config_hash="c5")])
    frame = load(tmp_path)
    sweeps = cost(frame, "sweep").set_index("sweep")
    assert sweeps.loc["first"].tolist() == [2, 4, 3, 120.0, 220.0, 100.0, 100 / 220, 0]
    assert sweeps.loc["second", "unrecorded"] == 1
    whole = cost(frame, "all").iloc[0]
    assert whole[["trials", "uses", "distinct", "seconds", "seconds_unshared"]].tolist() == [4, 8, 4, 130.0, 440.0]
    stages = cost(frame).set_index(["sweep", "stage"])
    assert stages.loc[("first", "city"), ["uses", "distinct", "seconds_saved"]].tolist() == [2, 1, 100.0]
    assert stages.loc[("second", "train"), ["uses", "distinct", "seconds_saved"]].tolist() == [2, 2, 0.0]
    with pytest.raises(LeaderboardError, match="sweep, stage, all: got"):
        cost(frame, "day")


def test_every_question_has_an_answer_without_rows(tmp_path):
    (tmp_path / "leaderboard" / "scores").mkdir(parents=True)
    frame = load(tmp_path)
    for table in (by_config(frame), best(frame), pareto(frame), per_class(frame), cost(frame), cost(frame, "sweep"),
                  curves(tmp_path), curves_by_config(curves(tmp_path))):  # fmt: skip
        assert table.empty
    assert cost(frame, "all")["seconds"].sum() == 0
    with pytest.raises(LeaderboardError, match="no arm, sweep"):
        compare(frame, "a", "b")


def test_curves_carry_their_configuration_and_are_averaged_over_seeds(board):
    points = [
        {
            "sweep": "first",
            "trial": trial,
            "attempt": 1,
            "stage": "train",
            "step": step,
            "metric": "loss",
            "value": value,
        }
        for trial, value in (("t00", 1.0), ("t01", 3.0))
        for step in (1, 2)
    ]
    write_curves(board, points)
    table = curves(board, metric="loss")
    assert table[["arm", "seed", "status"]].drop_duplicates().values.tolist() == [
        ["base", 0, "finished"],
        ["base", 1, "finished"],
    ]
    means = curves_by_config(table)
    assert means[["step", "n", "mean"]].values.tolist() == [[1, 2, 2.0], [2, 2, 2.0]]
    with pytest.raises(LeaderboardError, match="did you mean loss"):
        curves(board, metric="los")
    with pytest.raises(LeaderboardError, match="name a storage"):
        curves("published")


def test_the_optimism_of_a_sweep(tmp_path, make_row):
    confirmed = {"caaa": (0.40, 0.44, 0.42), "cbbb": (0.45, 0.46, 0.47)}
    rows = []
    for old, new, claim in (("c111", "caaa", 0.60), ("c222", "cbbb", 0.55)):
        rows.append(make_row(sweep="s", trial=f"t{old}", config_hash=old, miou=claim))
        for seed, miou in enumerate(confirmed[new], start=1000):
            fresh = {"sweep": "s-confirm", "trial": f"t{new}{seed}", "config_hash": new, "seed": seed}
            rows.append(make_row(**fresh, miou=miou + 0.1))
            rows.append(make_row(**fresh, miou=miou, evaluation_set="day_held_out", split_role="held_out"))
            rows.append(make_row(**fresh, miou=0.0, evaluation_set="day_held_out", checkpoint="final"))
        # A later sweep ran the same configuration and seed: what the first one claimed stays its claim.
        rows.append(make_row(minutes=9, sweep="later", trial=f"u{old}", config_hash=old, miou=0.1))
    write_scores(tmp_path, rows)
    configs = [({"alpha": 0.1}, "c111", "caaa"), ({"alpha": 0.2}, "c222", "cbbb"), ({"alpha": 0.3}, "c333", "cccc")]
    held_out = {"day_val": "day_held_out"}
    table = optimism(load(tmp_path), configs, held_out, sweep="s", confirmation="s-confirm", seeds=range(1000, 1003))
    assert table["params.alpha"].tolist() == [0.1, 0.2]
    first = table.iloc[0]
    assert first[["sweep_n", "sweep_mean", "n", "fresh_mean", "confirmed_mean"]].tolist() == pytest.approx(
        [1, 0.6, 3, 0.52, 0.42]
    )
    low, high = stats.t.interval(0.95, 2, 0.42, stats.sem(confirmed["caaa"]))
    assert (first["optimism"], first["low"], first["high"]) == pytest.approx((0.18, 0.6 - high, 0.6 - low))
    assert table["place"].tolist() == ["2", "1"] or table["place"].tolist() == ["1–2", "1–2"]
    assert optimism(load(tmp_path), configs, held_out, sweep="s", confirmation="x", seeds=range(1000, 1003)).empty


def test_names_stay_text_in_latex_and_markdown():
    text = exports.latex(["arm_name", "mIoU %"], [["a&b{$x$}\\", "1.0 ± 0.1"]], [False, True])
    assert text.splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"arm\_name & mIoU \% \\", r"\midrule",
        r"a\&b\{\$x\$\}\textbackslash{} & 1.0 $\pm$ 0.1 \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert exports.markdown(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"
