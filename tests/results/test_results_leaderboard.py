import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results import leaderboard
from results.leaderboard import LeaderboardError, best, by_config, failures, filter_rows, load, sort_rows
from results.schema import SCORES
from results.store import write_scores


@pytest.fixture
def board(tmp_path, make_row, make_failure):
    """fda with seeds 0–3 (one failed) on two sets, dacs with one seed; one configuration never finished."""
    fda = [make_row(seed=seed, trial=f"t{seed}", miou=miou) for seed, miou in enumerate((0.40, 0.50, 0.48))]
    dusk = [row | {"evaluation_set": "dusk_val", "split_role": "report", "miou": row["miou"] - 0.3} for row in fda]
    dacs = make_row(arm="dacs", config_hash="01", trial="t8", miou=0.47, alpha=0.25, fid=12.5)
    write_scores(tmp_path, [*fda, *dusk, dacs, make_failure(seed=3, trial="t3")])
    write_scores(tmp_path, [make_failure("diverged", config_hash="02", trial="t9", alpha=1.0, minutes=7)])
    return tmp_path


def one(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_importing_it_imports_no_torch_and_no_ray():
    code = (
        "import sys, results.leaderboard, results.tables;"
        "assert not {'torch', 'ray', 'optuna', 'trainers', 'orchestrator', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_load_has_all_columns_and_typed_params(board):
    frame = load(board)
    assert list(frame.columns) == [*SCORES.names, "params.segmenter.loss.alpha", "params.segmenter.network"]
    assert frame["params.segmenter.loss.alpha"].dtype == "float64"
    assert frame["seed"].dtype == "Int64"
    assert frame["miou"].dtype == "float64"
    assert len(frame) == 9
    assert frame["step"].isna().all()


def test_params_of_every_kind(tmp_path, make_row):
    params = [
        {
            "a.steps": 200,
            "a": {"lr": 0.1, "on": True},
            "mixed": 1,
            "sizes": [1, 2],
            "big": 2**70,
            "absent": None,
        },
        {"a.steps": None, "a": {"lr": 1}, "mixed": "x", "name": "fpn"},
    ]
    write_scores(
        tmp_path,
        [make_row(trial=f"t{n}", params=json.dumps(p), varied='{"only.varied": 3}') for n, p in enumerate(params)],
    )
    write_scores(tmp_path, [make_row(trial="t9", params=None, varied=None)])
    frame = load(tmp_path).set_index("trial").sort_index()
    frame = frame[[name for name in frame if name.startswith("params.")]].rename(columns=lambda name: name[7:])
    assert frame["a.steps"].dtype == "Int64"
    assert frame["a.lr"].tolist()[:2] == [0.1, 1.0]
    assert frame["a.on"].dtype == "boolean"
    assert frame["only.varied"].tolist() == [3, 3, pd.NA]
    assert frame["mixed"].tolist()[:2] == ["1", "x"]
    assert frame["sizes"].tolist()[0] == "[1, 2]"
    assert frame["big"].tolist()[0] == 2.0**70 or frame["big"].tolist()[0] == str(2**70)
    assert frame["absent"].isna().all()
    assert frame.loc["t9"].isna().all()


def test_load_without_a_leaderboard_says_how_to_get_one(tmp_path):
    with pytest.raises(LeaderboardError, match=r"holds no leaderboard: make one with") as caught:
        load(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_an_empty_leaderboard_is_an_empty_frame_with_all_columns(tmp_path):
    (tmp_path / "leaderboard" / "scores").mkdir(parents=True)
    frame = load(tmp_path)
    assert frame.empty
    assert list(frame.columns) == SCORES.names
    assert frame["miou"].dtype == "float64"
    for view in (by_config(frame), best(frame), failures(frame), sort_rows(frame, "miou")):
        assert view.empty
    assert filter_rows(frame, "miou>0.4", "arm=fda", "created_utc>2026-01-01").empty
    assert "mean" in by_config(frame)


def test_load_of_one_sweep(board, make_row):
    write_scores(board, [make_row(sweep="second_try")])
    assert len(load(board, sweep="second_try")) == 1
    with pytest.raises(LeaderboardError, match="did you mean second_try"):
        load(board, sweep="second_tri")


def test_torn_files_are_warned_about_by_name(board):
    torn = board / "leaderboard" / "scores" / "torn.parquet"
    torn.write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match=r"skipped .*torn\.parquet: ") as caught:
        frame = load(board)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert len(frame) == 9


def test_published_opens_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(load("published").columns)[: len(SCORES)] == SCORES.names


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("arm=fda", 8), ("arm==fda", 8), ("arm!=fda", 1), ("miou>0.47", 2), ("miou >= 0.47", 3),
        ("miou<.2", 2),
        ("miou<=0.4", 4), ("seed=1", 2), ("fid!=12.5", 8), ("fid=12.5", 1), ("evaluation_set!=day_val", 5),
        ("segmenter.loss.alpha=0.25", 1), ("params.segmenter.loss.alpha>=0.5", 8), ("status=failed", 1),
        ("created_utc>2026-11-20T12:05", 1), ("created_utc<2026-11-20 12:05+00:00", 8), ("miou>-1e-3", 7),
    ],
)  # fmt: skip
def test_filter(board, expression, count):
    assert len(filter_rows(load(board), expression)) == count


def test_filters_are_joined_by_and(board):
    assert len(filter_rows(load(board), "arm=fda", "evaluation_set=dusk_val", "miou>0.15")) == 2


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("mIoU>0.4", "no column 'mIoU': did you mean miou"),
        ("iou.trafic_light>0", "did you mean iou.traffic_light"),
        ("alpha>0.4", "did you mean params.segmenter.loss.alpha"),
        ("segmenter.los.alpha>0.4", "did you mean params.segmenter.loss.alpha"),
        ("miou", "cannot read 'miou'"),
        ("miou>", "cannot read 'miou>'"),
        ("miou=high", "compared with a number, got 'high'"),
        ("miou>nan", "compared with a number, got 'nan'"),
        ("created_utc>soon", "compared with a date, got 'soon'"),
        ("confusion=3", "holds lists"),
    ],
)
def test_filter_refuses_in_one_line(board, expression, message):
    with pytest.raises(LeaderboardError) as caught:
        filter_rows(load(board), expression)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sort_puts_the_best_first_and_nulls_last(board):
    frame = load(board)
    assert sort_rows(frame, "miou")["miou"].tolist()[:3] == [0.5, 0.48, 0.47]
    assert sort_rows(frame, "miou", ascending=True)["miou"].isna().tolist() == [False] * 7 + [True] * 2
    assert sort_rows(frame, "miou")["miou"].isna().tolist() == [False] * 7 + [True] * 2
    assert sort_rows(frame, "fid")["fid"].tolist()[0] == 12.5
    assert sort_rows(frame, "seed")["seed"].tolist()[0] == 0
    assert sort_rows(by_config(frame), "mean")["mean"].tolist()[0] == 0.47
    with pytest.raises(LeaderboardError, match="did you mean miou"):
        sort_rows(frame, "miuo")


def test_by_config_against_hand_and_scipy(board):
    row = one(by_config(load(board)), arm="fda", config_hash="00ab", evaluation_set="day_val")
    scores = [0.40, 0.50, 0.48]
    assert row["n"] == 3
    assert row["mean"] == pytest.approx(0.46, abs=1e-15)
    assert row["sd"] == pytest.approx(math.sqrt((0.06**2 + 0.04**2 + 0.02**2) / 2), rel=1e-12)
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(scores), scale=stats.sem(scores))
    assert row["low"] == pytest.approx(low, rel=1e-12)
    assert row["high"] == pytest.approx(high, rel=1e-12)
    assert row["low"] == pytest.approx(0.46 - 4.302652729911275 * 0.0529150262 / 1.7320508076, rel=1e-6)
    assert row["median"] == 0.48
    assert not row["few_seeds"]
    assert (row["failed"], row["pruned"], row["diverged"]) == (1, 0, 0)
    assert row["params.segmenter.loss.alpha"] == 0.5
    assert "params.segmenter.network" not in row.index


def test_one_seed_has_no_interval_and_is_flagged(board):
    row = one(by_config(load(board)), arm="dacs")
    assert row["n"] == 1
    assert row["few_seeds"]
    assert row[["sd", "low", "high"]].isna().all()
    assert row["mean"] == row["median"] == 0.47


def test_only_finished_rows_are_ranked(board):
    table = by_config(load(board))
    only_failed = one(table, config_hash="02")
    assert pd.isna(only_failed["rank"])
    assert pd.isna(only_failed["mean"])
    assert only_failed["n"] == 0
    assert only_failed["diverged"] == 1
    assert table.index[-1] == only_failed.name
    day = table[table["evaluation_set"] == "day_val"]
    assert dict(zip(day["arm"], day["rank"], strict=True)) == {"dacs": 1, "fda": 2}
    assert one(table, evaluation_set="dusk_val")["rank"] == 1
    assert failures(load(board))["trial"].tolist() == ["t9", "t3"]


def test_a_pruned_or_failed_row_with_a_score_is_not_ranked(tmp_path, make_row):
    write_scores(tmp_path, [make_row(miou=0.3), make_row(seed=1, trial="t1", miou=0.9, status="pruned")])
    row = one(by_config(load(tmp_path)), arm="fda")
    assert (row["n"], row["mean"], row["pruned"]) == (1, 0.3, 1)


def test_a_seed_counts_once_however_many_sweeps_ran_it(tmp_path, make_row, make_failure):
    write_scores(tmp_path, [make_row(miou=0.3), make_row(seed=1, trial="t1", miou=0.5)])
    write_scores(
        tmp_path, [make_row(miou=0.4, sweep="again", minutes=1), make_failure(seed=1, sweep="again", minutes=9)]
    )
    row = one(by_config(load(tmp_path)), arm="fda")
    assert (row["n"], row["mean"], row["failed"]) == (2, 0.45, 0)


def test_scopes_presets_and_checkpoints_are_never_mixed(tmp_path, make_row):
    changes = ({}, {"seed_scope": "all"}, {"preset": "real"}, {"preset": None}, {"checkpoint": "final"})
    write_scores(tmp_path, [make_row(trial=f"t{n}", miou=0.5 + n / 10, **change) for n, change in enumerate(changes)])
    write_scores(tmp_path, [make_row(trial="t9", preset="real", config_hash="cc", miou=0.1)])
    table = by_config(load(tmp_path))
    assert one(table, config_hash="cc")["rank"] == 2
    table = table[table["config_hash"] != "cc"]
    assert table["n"].tolist() == [1] * 5
    assert table["rank"].tolist() == [1] * 5


def test_a_lower_distance_ranks_first(tmp_path, make_row):
    rows = [make_row(trial=f"t{n}", config_hash=f"c{n}", fid=fid) for n, fid in enumerate((30.0, 10.0, 20.0))]
    write_scores(tmp_path, rows)
    table = by_config(load(tmp_path), "fid")
    assert table["config_hash"].tolist() == ["c1", "c2", "c0"]
    assert table["rank"].tolist() == [1, 2, 3]
    assert best(load(tmp_path), "fid")["config_hash"].tolist() == ["c1"]
    assert sort_rows(table, "mean")["mean"].tolist() == [10.0, 20.0, 30.0]


def test_a_higher_throughput_ranks_first(tmp_path, make_row):
    rows = [make_row(trial=f"t{n}", config_hash=f"c{n}", images_per_second=rate) for n, rate in enumerate((3.0, 9.0))]
    write_scores(tmp_path, rows)
    assert by_config(load(tmp_path), "images_per_second")["config_hash"].tolist() == ["c1", "c0"]
    assert sort_rows(load(tmp_path), "images_per_second")["images_per_second"].tolist() == [9.0, 3.0]


def test_best_is_the_best_configuration_not_the_luckiest_seed(tmp_path, make_row):
    lucky = [make_row(seed=n, trial=f"t{n}", config_hash="lucky", miou=m) for n, m in enumerate((0.9, 0.1))]
    steady = [make_row(seed=n, trial=f"t{n + 5}", config_hash="steady", miou=0.6) for n in range(2)]
    dacs = make_row(arm="dacs", trial="t9", config_hash="dacs", miou=0.7)
    write_scores(tmp_path, [*lucky, *steady, dacs])
    winners = best(load(tmp_path))
    assert winners["config_hash"].tolist() == ["dacs", "steady"]
    assert best(load(tmp_path), by="segmenter.loss.alpha")["config_hash"].tolist() == ["dacs"]


def test_by_config_refuses_what_has_no_mean(board):
    with pytest.raises(LeaderboardError, match="does not hold numbers"):
        by_config(load(board), "hardware")
    with pytest.raises(LeaderboardError, match="did you mean miou"):
        best(load(board), "moiu")


def test_the_module_is_documented():
    for function in (load, filter_rows, sort_rows, best, by_config, failures, leaderboard.resolve_column):
        assert function.__doc__
