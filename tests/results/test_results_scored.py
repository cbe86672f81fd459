"""Scores of other images, labels, classes or sizes: never ranked together, and the answer says why."""

import numpy as np
import pandas as pd
import pytest

from results import leaderboard as board
from results import report
from results.leaderboard import LeaderboardError, best, by_config, compare, load, not_compared, optimism, pareto
from results.store import write_scores
from results.tables import leaderboard_table

HERE = {
    "scored_split": "labeled_folder/val", "scored_fingerprint": "aaaa" * 8, "class_set": "camvid11",
    "label_height": 96, "label_width": 128,
}  # fmt: skip
UNKNOWN = {"scored_split": None, "scored_fingerprint": None}
OTHER = {
    "images": {"scored_fingerprint": "bbbb" * 8},
    "split": {"scored_split": "labeled_folder/val:20"},
    "classes": {"class_set": "cityscapes19"},
    "size": {"label_height": 1024, "label_width": 2048},
    "unknown": UNKNOWN,
}
WHY = {
    "images": "scored on different images: labeled_folder/val aaaaaaaa.* and labeled_folder/val bbbbbbbb",
    "split": "scored on different images: labeled_folder/val aaaaaaaa.* and labeled_folder/val:20 aaaaaaaa",
    "classes": "scored on different classes: camvid11 and cityscapes19",
    "size": "scored at different sizes of the labels: 96×128 and 1024×2048",
    "unknown": r"one row says that it is of labeled_folder/val aaaaaaaa.*, the other is older than schema 5",
}


@pytest.fixture
def rows_of(make_row):
    """Three seeds of a sweep and of a configuration of the same name."""

    def rows(name, scores, minutes=0, **changes):
        return [
            make_row(minutes + seed, sweep=name, arm=name, trial=f"t{name}{seed}", config_hash=f"c00{name[-1]}",
                     **{"seed": seed, "miou": miou, "seconds": 1.0, "seconds_saved": 0.0, **HERE, **changes})
            for seed, miou in enumerate(scores)
        ]  # fmt: skip

    return rows


@pytest.fixture
def two(rows_of, tmp_path):
    """A board of two sweeps; the second, worse by about .033, is scored on what its changes say."""

    def write(**changes):
        write_scores(tmp_path, [*rows_of("one1", (0.40, 0.50, 0.48)), *rows_of("two2", (0.37, 0.465, 0.45), **changes)])
        return load(tmp_path)

    return write


def test_rows_that_were_scored_on_the_same_are_compared(two):
    frame = two()
    assert compare(frame, "sweep=one1", "sweep=two2")["verdict"].tolist() == ["worse"]
    assert by_config(frame)["place"].tolist() == ["1", "2"]
    assert not_compared(frame) == []


@pytest.mark.parametrize("kind", OTHER)
def test_rows_of_something_else_are_neither_compared_nor_ranked(two, kind):
    frame = two(**OTHER[kind])
    with pytest.raises(LeaderboardError, match=f"are not compared: day_val: {WHY[kind]}") as caught:
        compare(frame, "sweep=one1", "sweep=two2")
    assert "\n" not in str(caught.value)
    table = by_config(frame)
    assert table["rank"].tolist() == [1, 1]
    assert table["place"].tolist() == ["1", "1"]
    assert best(frame)["place"].tolist() == ["1", "1"]
    assert pareto(frame)["on_front"].tolist() == [True, True]
    (told,) = not_compared(frame)
    assert told.startswith("not compared: rows of day_val ")


def test_rows_that_do_not_say_are_compared_with_each_other_as_before(two, rows_of, tmp_path):
    write_scores(
        tmp_path, [*rows_of("old3", (0.3, 0.4, 0.35), **UNKNOWN), *rows_of("old4", (0.3, 0.4, 0.3), **UNKNOWN)]
    )
    frame = two()
    assert compare(frame, "sweep=old3", "sweep=old4")["n"].tolist() == [3]
    places = by_config(frame).set_index("arm")["place"].to_dict()
    assert places == {"one1": "1", "two2": "2", "old3": "1–2", "old4": "1–2"}


def test_a_set_that_differs_does_not_hide_one_that_does_not(rows_of, tmp_path):
    rows = []
    for name, scores, images in (("one1", (0.4, 0.5), "aa"), ("two2", (0.3, 0.42), "bb")):
        rows += rows_of(name, scores, scored_fingerprint=images)
        rows += rows_of(name, scores, evaluation_set="night", split_role="report", scored_split="x/night")
    write_scores(tmp_path, rows)
    table = compare(load(tmp_path), "sweep=one1", "sweep=two2").set_index("evaluation_set")
    assert table["verdict"].to_dict() == {"day_val": "not compared", "night": "tie"}
    assert table.loc["night", "n"] == 2
    refused = table.loc["day_val"]
    assert np.isnan([refused[name] for name in ("difference", "low", "high", "p", "p_holm")]).all()
    assert (refused["n"], refused["baseline_mean"], refused["other_mean"]) == pytest.approx((0, 0.45, 0.36))
    assert refused["note"].startswith("scored on different images")


def test_old_and_new_rows_of_one_configuration_are_two_lines(rows_of, tmp_path):
    write_scores(tmp_path, [*rows_of("one1", (0.1, 0.2, 0.3), **UNKNOWN)])
    write_scores(tmp_path, [{**row, "seed": 9, "trial": "t9"} for row in rows_of("one1", (0.9,), minutes=60)])
    frame = load(tmp_path)
    table = by_config(frame)
    assert table["mean"].tolist() == pytest.approx([0.9, 0.2])  # What was scored last comes first.
    assert table["scored_fingerprint"].isna().tolist() == [False, True]
    assert table["n"].tolist() == [1, 3]


def test_the_best_of_several_configurations_is_not_chosen_over_other_images(two, rows_of, tmp_path):
    corrected = rows_of("one1", (0.9, 0.9, 0.9), scored_fingerprint="cc")
    write_scores(tmp_path, [{**row, "config_hash": "c009", "trial": f"{row['trial']}c"} for row in corrected])
    frame = two()
    with pytest.raises(LeaderboardError, match=r"one1 has 2 configurations and no best one .*different images.*hash"):
        compare(frame, "sweep=two2", "sweep=one1")
    assert len(compare(frame, "sweep=two2", "c001"))


def test_an_objective_is_ranked_by_what_it_was_scored_on_itself(rows_of, tmp_path):
    rows = []
    for name, source, report_images in (("one1", "s1", "aa"), ("two2", "s1", "bb"), ("six3", "s2", "aa")):
        given = {"source_fingerprint": source, "scored_fingerprint": report_images}
        rows += [{**row, "source_miou": row["miou"]} for row in rows_of(name, (0.4, 0.5), **given)]
    write_scores(tmp_path, rows)
    frame = load(tmp_path)
    ranks = by_config(frame, "source_miou").set_index("arm")["rank"].to_dict()
    assert ranks == {"one1": 1, "two2": 1, "six3": 1}
    assert by_config(frame, "source_miou").groupby("source_fingerprint").size().to_dict() == {"s1": 2, "s2": 1}
    with pytest.raises(LeaderboardError, match="different images: images s1 and images s2"):
        compare(frame, "sweep=one1", "sweep=six3", metric="source_miou")
    assert compare(frame, "sweep=one1", "sweep=two2", metric="source_miou")["n"].tolist() == [2]


def test_classes_are_not_averaged_over_other_images(rows_of, tmp_path):
    rows = rows_of("one1", (0.4, 0.5), **{"iou.car": 0.1})
    for row in rows_of("one1", (0.4, 0.5), minutes=60, scored_fingerprint="bb", **{"iou.car": 0.9}):
        rows.append({**row, "trial": f"{row['trial']}b"})
    write_scores(tmp_path, rows)
    table = board.per_class(load(tmp_path))
    assert sorted(table["mean"]) == pytest.approx([0.1, 0.9])
    assert table["n"].tolist() == [2, 2]


def confirmed(rows_of, tmp_path, **changes):
    """A sweep of two configurations, and what was confirmed of them: the second with ``changes``."""
    rows = []
    for name, known, hidden, given in (("one1", 0.5, 0.4, {}), ("two2", 0.45, 0.3, changes)):
        rows += [{**row, "sweep": "s"} for row in rows_of(name, (known,) * 2)]
        fresh = {"sweep": "s-confirm", **given}
        held_out = {"evaluation_set": "held_out", "split_role": "held_out", "scored_split": "x/held_out"}
        rows += [{**row, **fresh, "seed": 1000, "trial": f"{row['trial']}f"} for row in rows_of(name, (known - 0.01,))]
        rows += [
            {**row, **held_out, **fresh, "seed": 1000, "trial": f"{row['trial']}f"} for row in rows_of(name, (hidden,))
        ]
    write_scores(tmp_path, rows)
    configs = [({"a": 1}, "c001", "c001"), ({"a": 2}, "c002", "c002")]
    names = {"sweep": "s", "confirmation": "s-confirm", "seeds": range(1000, 1001)}
    return optimism(load(tmp_path), configs, {"day_val": "held_out"}, **names)


def test_a_confirmation_on_the_same_has_places_and_optimism(rows_of, tmp_path):
    table = confirmed(rows_of, tmp_path)
    assert table["optimism"].tolist() == pytest.approx([0.1, 0.15])
    assert table["place"].tolist() == ["1–2", "1–2"]
    assert table["fresh_mean"].tolist() == pytest.approx([0.49, 0.44])


def test_a_confirmation_on_other_images_has_a_place_of_its_own_and_no_fresh_mean(rows_of, tmp_path):
    table = confirmed(rows_of, tmp_path, scored_fingerprint="cc")
    assert table["place"].tolist() == ["1", "1"]
    assert table["fresh_mean"].isna().tolist() == [False, True]


def test_a_confirmation_at_another_size_has_no_optimism_and_says_why(rows_of, tmp_path):
    table = confirmed(rows_of, tmp_path, label_height=192, label_width=256)
    assert table["optimism"].isna().tolist() == [False, True]
    assert table["note"][1] == "scored at different sizes of the labels: 96×128 and 192×256"


def test_a_report_shows_what_was_scored_last_and_says_so(rows_of, tmp_path):
    rows = rows_of("one1", (0.9, 0.9, 0.9)) + rows_of("two2", (0.3, 0.4, 0.35), minutes=60, scored_fingerprint="bb")
    write_scores(tmp_path, [{**row, "sweep": "s"} for row in rows])
    frame = load(tmp_path)
    shown, apart = report.one_scored(frame, None)
    assert set(shown["arm"]) == {"two2"}
    assert len(apart) == 1
    curves = pd.DataFrame(columns=["sweep", "trial", "attempt", "stage", "step", "metric", "value"])
    html = report.render(frame, curves, {})
    assert "90.0" not in html
    assert "scored on different images" in html
    assert "what was scored last" in html


def test_a_table_of_a_readme_refuses_other_images(two):
    frame = two(scored_fingerprint="bb")
    assert leaderboard_table("demo", frame[frame["sweep"] == "one1"]).startswith("| arm")
    with pytest.raises(LeaderboardError, match="scored on different images"):
        leaderboard_table("demo", frame)


def test_published_rows_do_not_say_and_are_compared_as_before():
    frame = load("published")
    assert frame["scored_fingerprint"].isna().all()
    assert not_compared(frame) == []
