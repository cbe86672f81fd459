import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from results import leaderboard
from results.report import Importance, Material, Picture, render, write
from results.report.ranking import rank
from results.schema import CLASS_NAMES, COLUMNS, SCORES
from results.store import write_curves, write_scores

EVIL = "<script>console.error('injected')</script><img src=x onerror=\"console.error('injected')\">"
ALPHAS = (0.1, 0.3, 0.5, 0.9)
BROWSER = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)


def png(width=8, height=4):
    """A grey PNG, made by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes([120] * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def stages(number, seed):
    train = {"name": "train", "key": f"k{number}{seed}", "hit": False, "seconds": 30.0}
    return [{"name": "city", "key": "shared", "hit": number + seed > 0, "seconds": 20.0}, train]


@pytest.fixture
def storage(tmp_path, make_row, make_failure):
    """Four configurations with three seeds each on two sets, one pruned and one failed trial, and their curves."""
    dice = np.random.default_rng(0)
    rows, points = [], []
    for number, alpha in enumerate(ALPHAS):
        for seed in range(3):
            trial = f"t{number}{seed}00000000"
            score = 0.4 + 0.1 * number + 0.01 * seed
            common = {
                "trial": trial, "seed": seed, "config_hash": f"c{number}", "source_miou": score,
                "target_infomax": 0.3 + 0.01 * number, "seconds": 30.0, "seconds_saved": 20.0,
                "stages": stages(number, seed), "command": f"nightshift sweep {EVIL}", "git_commit": "abcdef0123",
                "versions": json.dumps({"torch": "2.6", "python": EVIL}), "hardware": "two cores",
                "confusion": dice.integers(1, 50, 361).tolist(),
            }  # fmt: skip
            iou = {f"iou.{name}": float(dice.random()) for name in CLASS_NAMES[:-1]} | {"iou.bicycle": None}
            rows.append(make_row(number, alpha, **common, **iou, miou=score))
            night = {"evaluation_set": "night_test", "split_role": "report", "miou": score / 2}
            rows.append(make_row(number, alpha, **{**common, **iou, **night}))
            points += [
                {"sweep": "first", "trial": trial, "attempt": 1, "stage": "train", "step": step, "metric": "loss",
                 "value": 1 / step} for step in (10, 20, 30)
            ]  # fmt: skip
    rows.append(make_failure("failed", trial="t9", config_hash="c9", seed=0, message=f"broke at {EVIL}"))
    rows.append(make_failure("pruned", trial="t8", config_hash="c8", seed=0, message="stopped at step 10 of 30"))
    write_scores(tmp_path, rows)
    write_curves(tmp_path, points)
    return tmp_path


def material(**changes):
    base = {
        "objective": "source_miou",
        "planned_trials": 20,
        "methods": {"city": "toy_city", "train": "supervised"},
        "links": [("city", "train")],
        "importances": [Importance("segmenter.loss.alpha", 0.7, 0.1), Importance(EVIL, 0.3, 0.1)],
        "importance_note": "over 4 configurations",
        "pictures": [Picture("day_val@best", EVIL, kind, EVIL, png()) for kind in ("input", "truth", EVIL)],
        "pictures_of": "the best",
    }
    return Material(**(base | changes))


def page(storage, **changes):
    rows = leaderboard.load(storage)
    colors = [(number, 0, 255 - number) for number in range(19)]
    return render(rows, leaderboard.curves(storage), {"first": material(**changes)}, colors=colors)


VOID = {"meta", "br", "img"}


class Elements(HTMLParser):
    """Every element with its attributes, and whether all are closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def visible(text):
    return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", text)))


def test_the_page_is_well_formed_and_every_link_leads_somewhere(storage):
    elements = Elements(page(storage))
    assert elements.open == elements.wrong == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    sections = ("summary", "search", "classes", "pictures", "curves", "stages", "endings", "provenance")
    assert links == [f"#{name}-1" for name in sections]
    assert {link[1:] for link in links} <= set(ids)


def test_nothing_is_loaded_and_nothing_can_run(storage):
    text = page(storage)
    elements = Elements(text)
    assert not [tag for tag, _ in elements.found if tag in ("script", "link", "iframe", "object", "embed")]
    for _, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in text
    assert "@import" not in text
    policy = next(attributes["content"] for tag, attributes in elements.found if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")


def test_injected_names_stay_text(storage):
    text = page(storage)
    assert "<script" not in text
    assert "<img src=x" not in text
    seen = visible(text)
    for where in ("broke at ", "nightshift sweep ", "python "):
        assert where + EVIL in seen
    assert seen.count(EVIL) >= 6  # Also as a field, a picture's title, kind and caption.


def test_the_summary_ranks_with_ties_and_intervals(storage):
    ranked = rank(leaderboard.load(storage), "source_miou")
    assert [one.hash for one in ranked.configurations] == ["c3", "c2", "c1", "c0"]
    assert [one.place for one in ranked.configurations] == ["1", "2", "3", "4"]
    best = ranked.configurations[0]
    assert best.n == 3
    assert best.mean == pytest.approx(0.71)
    # t(2, .975) = 4.302653 · 0.01 / √3
    assert (best.low, best.high) == pytest.approx((0.71 - 0.0248414, 0.71 + 0.0248414), abs=1e-6)
    assert best.scores["night_test"] == pytest.approx((0.355, 0.0124207), abs=1e-6)
    assert best.seconds == 50.0
    seen = " ".join(visible(page(storage)).split())
    assert "1 alpha 0.9 3 71.0 71.0 ± 2.5 35.5 ± 1.2" in seen
    assert "95 % interval 68.5 – 73.5" in seen


def test_every_section_shows_its_numbers(storage):
    seen = " ".join(visible(page(storage)).split())
    assert "trials 14 of 20; the rest is to come" in seen
    assert "compute 6 min 4 min (37 %) saved by sharing" in seen  # 12 · 30 + 20 s instead of 12 · 50 s.
    assert "t9 failed" in seen
    assert "stopped at step 10 of 30" in seen
    assert "abcdef0123" in seen
    assert "Slice: segmenter.loss.alpha" in seen
    assert "rank correlation 1.00" in seen  # Of source mIoU and half of it.
    assert "city toy_city 12 1 11 20 s 20 s 4 min" in seen
    assert "train supervised 12 12 0 30 s 6 min –" in seen


def test_classes_come_with_frequencies_the_commonest_first(storage):
    rows = leaderboard.load(storage)
    day = rows[(rows["evaluation_set"] == "day_val")]
    shares = np.stack([np.reshape(one, (19, 19)).sum(axis=1) / np.sum(one) for one in day["confusion"]]).mean(axis=0)
    order = [name for name in np.array(CLASS_NAMES)[np.argsort(-shares)] if name != "bicycle"]  # It never occurs.
    table = page(storage).partition("<summary>day_val</summary>")[2].partition("</table>")[0]
    names = re.findall(r'<th class="class">(.*?)</th>', table)
    assert names[1:] == [name.replace("_", " ") for name in order]
    road = table.partition('<th class="class">road</th>')[2].partition("</tr>")[0]
    expected = [100 * day[day["config_hash"] == f"c{one}"]["iou.road"].mean() for one in (3, 2, 1, 0)]
    assert re.findall(r'style="background:[^>]*>(\d+)</td>', road) == [f"{value:.0f}" for value in expected]


def test_curves_hold_the_points_of_every_trial(storage):
    text = page(storage)
    chart = text.partition('id="curves-1"')[2].partition("</svg>")[0]
    lines = re.findall(r'<polyline class="line (\w+)" points="([^"]*)"><title>([^<]*)</title>', chart)
    assert len(lines) == 12
    assert [css for css, _, _ in lines[-9:]] == ["s3"] * 3 + ["s2"] * 3 + ["s1"] * 3  # The best lies on top.
    assert all(len(points.split()) == 3 for _, points, _ in lines)
    assert lines[-1][2].startswith("alpha 0.9, seed")


def test_pictures_are_inside_and_end_where_the_room_ends(storage):
    big = [Picture("s", f"{number}", "input", "", png() + b"\0" * 2_000_000) for number in range(5)]
    text = page(storage, pictures=big)
    assert text.count('src="data:image/png;base64,') == 2
    assert "3 further panels are left out" in text
    assert len(text) < 10_000_000


def test_a_panel_without_room_leaves_out_no_other(storage):
    sizes = {"large": 7_000_000, "small": 100, "also small": 100}
    text = page(
        storage, pictures=[Picture("s", name, "input", "", png() + b"\0" * size) for name, size in sizes.items()]
    )
    assert [name in visible(text) for name in sizes] == [False, True, True]
    assert text.count('src="data:image/png;base64,') == 2
    assert "1 further panels are left out" in text


NO_CURVES = pd.DataFrame(columns=["sweep", "trial", "value"])


@pytest.fixture
def two_arms(tmp_path, make_row):
    """Wall gains ten points for sure, pole as many on average, and bus only one arm has."""
    write_scores(
        tmp_path,
        [
            make_row(
                arm=arm, trial=f"{arm}{seed}", config_hash=f"c{arm}", seed=seed, varied="{}", miou=0.5,
                **{"iou.wall": wall + seed / 10, "iou.pole": pole, "iou.bus": bus},
            )
            for arm, wall, poles, bus in (("plain", 0.2, (0.1, 0.1, 0.1), None), ("first", 0.3, (0.0, 0.1, 0.5), 0.5))
            for seed, pole in enumerate(poles)
        ],
    )  # fmt: skip
    return leaderboard.load(tmp_path)


def test_changes_by_class_are_against_the_baseline(two_arms):
    """The other arm has the name of the sweep."""
    text = render(two_arms, NO_CURVES, {"first": Material(baseline="plain")})
    section = text.partition('id="changes-1"')[2].partition("<h2")[0]
    assert "<summary>day_val, against plain</summary>" in section
    assert re.findall(r"<th>(.*?)</th>", section) == ["first"]
    wall, pole = (section.partition(f">{name}</th>")[2].partition("</tr>")[0] for name in ("wall", "pole"))
    assert '<td class="v" title="+10.0 … +10.0, 3 seeds"><b>+10.0</b></td>' in wall
    # 4.302653 · sd(-.1, 0, .4) / √3
    assert '<td class="v" title="-55.7 … +75.7, 3 seeds">+10.0</td>' in pole
    assert "bus" not in section


def test_without_a_baseline_there_are_no_changes_by_class(two_arms):
    alone = two_arms[two_arms["arm"] == "plain"]
    for rows, baseline in ((two_arms, None), (two_arms, "absent"), (alone, "plain"), (alone, "first")):
        assert "changes-1" not in render(rows, NO_CURVES, {"first": Material(baseline=baseline)})


def test_thousands_of_trials_stay_below_ten_megabytes(make_row):
    dice = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            make_row(trial=f"t{number}", config_hash=f"c{number}", miou=float(dice.random()), seconds=1.0,
                     varied=json.dumps({"a": number}), params="{}",
                     created_utc=pd.Timestamp(number, unit="s", tz="UTC"))
            for number in range(2000)
        ]
    ).reindex(columns=SCORES.names)  # fmt: skip
    rows["params.a"] = range(2000)
    steps = np.arange(1000)
    curves = pd.DataFrame({"sweep": "first", "trial": "t1", "stage": "s", "step": steps, "metric": "m", "value": 1.0})
    curves = pd.concat([curves.assign(trial=f"t{number}") for number in range(100)])
    text = render(rows, curves, {})
    assert 100_000 < len(text) < 3_000_000
    assert "1940 further configurations are on the leaderboard" in text


def test_one_seed_has_no_interval_and_says_so(make_row, tmp_path):
    write_scores(tmp_path, [make_row(0, alpha, config_hash=f"c{alpha}", trial=f"t{alpha}") for alpha in (0.1, 0.2)])
    rows = leaderboard.load(tmp_path)
    seen = " ".join(visible(render(rows, pd.DataFrame(columns=["sweep", "trial", "value"]), {})).split())
    assert "alpha 0.1; one seed" in seen
    assert "Fewer than three seeds: of one there is no interval" in seen


def test_a_sweep_without_a_finished_trial_has_a_report(make_failure, tmp_path):
    write_scores(tmp_path, [make_failure(config_hash="c1")])
    text = render(leaderboard.load(tmp_path), pd.DataFrame(columns=["sweep", "trial", "value"]), {})
    assert "No trial has finished." in text
    assert "out of memory" in text
    assert Elements(text).open == []


def test_a_failed_row_needs_only_the_required_columns(make_failure, tmp_path):
    absent = {column.name: None for column in COLUMNS if not column.required}
    write_scores(tmp_path, [make_failure(**absent)])
    text = render(leaderboard.load(tmp_path), pd.DataFrame(columns=["sweep", "trial", "value"]), {})
    assert "No trial has finished." in text
    assert Elements(text).open == []


@pytest.mark.parametrize("name", [column.name for column in COLUMNS if not column.required and column.unit == "JSON"])
def test_a_missing_mapping_of_one_column_is_no_mistake(make_row, make_failure, tmp_path, name):
    write_scores(tmp_path, [make_row(0, **{name: None}), make_failure(trial="t9", config_hash="c9", **{name: None})])
    text = render(leaderboard.load(tmp_path), pd.DataFrame(columns=["sweep", "trial", "value"]), {})
    assert "out of memory" in text
    assert Elements(text).open == []


def test_sweeps_are_chapters_the_newest_first(make_row, tmp_path):
    write_scores(tmp_path, [make_row(0, sweep="old"), make_row(5, sweep="new")])
    text = render(leaderboard.load(tmp_path), pd.DataFrame(columns=["sweep", "trial", "value"]), {})
    assert re.findall(r'<a href="#chapter-\d">(\w+)</a>', text) == ["new", "old"]


def test_a_written_report_replaces_the_last_one_whole(tmp_path):
    path = tmp_path / "new" / "report.html"
    for content in ("first", "größer"):
        write(path, content)
    assert path.read_text(encoding="utf-8") == "größer"
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_it_without_an_error(storage, tmp_path, width):
    """What is injected writes to the console as soon as it runs."""
    path = tmp_path / "report.html"
    write(path, page(storage))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
             f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]  # fmt: skip
    shown = tmp_path / "shown.png"
    logged = ["--enable-logging=stderr", "--log-level=0"]
    command = [BROWSER, *flags, *logged, f"--screenshot={shown}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert shown.stat().st_size > 20_000
    assert ":CONSOLE" not in done.stderr
    # The check itself: a page that does write to the console is heard.
    path.write_text("<script>console.error('heard')</script>")
    done = subprocess.run([*command[:-1], path.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert "heard" in done.stderr
