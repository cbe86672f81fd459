from pathlib import Path

import pytest

from orchestrator.cli.options import Setup
from orchestrator.experiments.demo import toy_city
from orchestrator.overrides import (
    absolute_paths,
    artifact_features,
    assign,
    parse_assignments,
    read_config_file,
    read_config_files,
    split_roots,
)
from tests.orchestrator.fakes import seal
from trainers.errors import UserError


def train(*assignments):
    return assign(toy_city(), parse_assignments(assignments)).stages["train"].config


def test_values_are_read_as_yaml_and_typed_by_the_field():
    config = train("train.loss.alpha=0", "train.loop.steps=10", "train.network.dropout=null", "train.loader_workers=2")
    assert config.loss.alpha == 0.0
    assert isinstance(config.loss.alpha, float)
    assert config.loop.steps == 10
    assert config.network.dropout is None
    assert train("train.optimizer.learning_rate=1e-4").optimizer.learning_rate == 1e-4  # No number in YAML 1.1.
    assert config.loader_workers == 2
    splits = train("train.train=[toy_city/day_train, toy_city/night_train]").train
    assert [str(split) for split in splits] == ["toy_city/day_train", "toy_city/night_train"]
    assert train("train.loss.normalise_focal=false").loss.normalise_focal is False
    weights = train(f"train.loss.focal_class_weights={[1.0] * 19}").loss.focal_class_weights
    assert weights == (1.0,) * 19


def test_features_name_a_segmenter_s_artifact_by_its_key(tmp_path):
    folder = tmp_path / "artifacts" / "supervised" / "57aa01"
    folder.mkdir(parents=True)
    (folder / "best.pt").touch()
    seal(folder)
    given = {"dfs.features": "segmenter@1:artifact:57a", "unit.features": "segmenter:artifact:57aa01",
             "other.features": "vgg16:artifact:57a", "train.select": "camvid/day_val", "loop.steps": 3}  # fmt: skip
    found = artifact_features(given, tmp_path)
    changed = {"dfs.features": f"segmenter@1:{folder}", "unit.features": f"segmenter:{folder}"}
    assert found == {**given, **changed}
    with pytest.raises(UserError, match="artifact:99: no artifact with weights has a key that begins with '99'"):
        artifact_features({"dfs.features": "segmenter:artifact:99"}, tmp_path)


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    given = {
        "data.camvid.root": "camvid",
        "train.network.weights": "weights/resnet18.pth",
        "source.network.weights": "~/best.pt",
        "other.network.weights": "imagenet",
        "train.loss.focal_class_weights": [1.0],
        "train.select": "toy_city/day_val",
    }
    assert absolute_paths(given) == given | {
        "data.camvid.root": str(tmp_path / "camvid"),
        "train.network.weights": str(tmp_path / "weights" / "resnet18.pth"),
        "source.network.weights": str(tmp_path / "home" / "best.pt"),
    }


def test_only_the_named_stage_changes_and_the_experiment_stays():
    base = toy_city()
    changed = assign(base, {"city.city_seed": 3})
    assert changed.stages["city"].config.city_seed == 3
    assert base.stages["city"].config.city_seed == 0
    assert changed.stages["train"] is base.stages["train"] or changed.stages["train"] == base.stages["train"]


def test_a_value_may_hold_equals_signs():
    assert parse_assignments(["train.network.weights=/a=b.pth"]) == {"train.network.weights": "/a=b.pth"}


@pytest.mark.parametrize("text", ["train.loss.alpha", "=3", ""])
def test_an_assignment_without_name_or_value_is_refused(text):
    with pytest.raises(UserError, match=r"not of the form stage\.field=value"):
        parse_assignments([text])


@pytest.mark.parametrize("text", ["[1, 2", "{a: ", '"open', "a: b: c"])
def test_a_value_that_is_no_yaml_is_named(text):
    with pytest.raises(UserError, match=r"train\.x: the value .* cannot be read") as caught:
        parse_assignments([f"train.x={text}"])
    assert "\n" not in str(caught.value)


def refusal(values):
    with pytest.raises(UserError) as caught:
        assign(toy_city(), values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_stage_offers_the_nearest():
    text = refusal({"trian.loss.alpha": 0.3})
    assert "no stage 'trian'" in text
    assert "did you mean 'train'" in text


def test_an_unknown_field_offers_the_nearest():
    text = refusal({"train.loss.alhpa": 0.3})
    assert "no field 'loss.alhpa'" in text
    assert "loss.alpha" in text


def test_a_right_last_name_in_the_wrong_place_is_found():
    assert "did you mean train.loss.alpha?" in refusal({"train.alpha": 0.3})
    text = refusal({"train.optimiser.learning_rate": 0.1})
    assert "train.optimizer.learning_rate" in text


def test_a_stage_without_a_field_is_refused():
    assert "train has no field" in refusal({"train": {"loss": 1}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train.loss.alpha": 1.5}, ["train.loss.alpha", "less than or equal to 1", "1.5"]),
        ({"train.loss.alpha": -0.1}, ["train.loss.alpha", "greater than or equal to 0", "-0.1"]),
        ({"train.loss.alpha": float("nan")}, ["train.loss.alpha", "nan"]),
        ({"train.loop.steps": 0}, ["train.loop.steps", "greater than or equal to 1", "0"]),
        ({"train.loop.steps": "many"}, ["train.loop.steps", "many"]),
        ({"train.network.architecture": "FPM"}, ["train.network.architecture", "FPM", "did you mean 'FPN'"]),
        ({"train.optimizer.name": "adm"}, ["train.optimizer.name", "adam", "adm"]),
        ({"train.select": "toy_city/day_vall"}, ["train.select", "day_vall", "did you mean 'day_val'"]),
        ({"train.select": "camvidd/day_val"}, ["train.select", "did you mean 'camvid'"]),
        ({"train.loss": 3}, ["train.loss", "3"]),
        ({"city.images": {"day": {"train": 0}}}, ["city", "at least 1", "0"]),
        ({"city.height": 40}, ["city.height", "multiple of 32", "40"]),
    ],
)
def test_a_value_that_the_field_does_not_allow_names_field_rule_and_value(values, said):
    text = refusal(values)
    for part in said:
        assert part in text, text


def test_several_problems_are_told_at_once():
    text = refusal({"train.loss.alpha": 2, "train.loop.steps": 0})
    assert "train.loss.alpha" in text
    assert "train.loop.steps" in text


def test_a_file_may_be_nested_or_dotted(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("train:\n  loss: {alpha: 0.25}\n  loop.steps: 7\ndata.camvid.root: /somewhere\n")
    assert read_config_file(path) == {
        "train.loss.alpha": 0.25,
        "train.loop.steps": 7,
        "data.camvid.root": "/somewhere",
    }


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text", "", "a: [1", b"\xff\xfe\x00\x01"])
def test_a_file_that_holds_no_mapping_is_refused(tmp_path, content):
    path = tmp_path / "settings.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"settings\.yaml") as caught:
        read_config_file(path)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml cannot be read"):
        read_config_file(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0100", 100), ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("1e-4", 1e-4), ("0x1f", 31), ("true", True),
        ("null", None),
    ],
)  # fmt: skip
def test_values_have_no_surprises_of_old_yaml(tmp_path, text, value):
    """Octal numbers, numbers to the base of 60, and no for false were version 1.1."""
    path = tmp_path / "settings.yaml"
    path.write_text(f"train.loop.steps: {text}\n")
    assert read_config_file(path) == parse_assignments([f"train.loop.steps={text}"]) == {"train.loop.steps": value}


@pytest.mark.parametrize(
    "content",
    [
        "train: {loss: {alpha: 0.1}}\ntrain: {batch_size: 2}\n",
        "train.loss.alpha: 0.1\ntrain.loss.alpha: 0.2\n",
        "train: {loss: {alpha: 0.1}}\ntrain.loss.alpha: 0.2\n",
        "train.loss.alpha: 0.1\ntrain: {loss: {alpha: 0.2}}\n",
        "train.loss: 3\ntrain.loss.alpha: 0.2\n",
        "train: {loss: [1], loss.alpha: 0.2}\n",
    ],
)
def test_what_a_file_says_twice_is_refused(tmp_path, content):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"settings\.yaml .*(twice|both|duplicate key)") as caught:
        read_config_file(path)
    assert "\n" not in str(caught.value)


def test_files_merge_in_order(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train: {loss: {alpha: 0.25, gamma: 3}}\ncity.images: {day: {train: 4}}\n")
    second.write_text("train.loss.alpha: 0.5\ncity.images.day.train: 9\n")
    assert read_config_files([first, second]) == {
        "train.loss.alpha": 0.5,
        "train.loss.gamma": 3,
        "city.images.day.train": 9,
    }
    graph, _ = Setup(config_files=[first, second]).configured("demo")
    assert (graph.stages["train"].config.loss.alpha, graph.stages["train"].config.loss.gamma) == (0.5, 3)


def test_an_assignment_that_contradicts_another_is_refused():
    with pytest.raises(UserError, match=r"train\.loss\.alpha is given twice, as 0\.1 and 0\.2"):
        parse_assignments(["train.loss.alpha=0.1", "train.loss.alpha=0.2"])


@pytest.mark.parametrize("path", ["/data/a #1/b", "/data/x: y", "/a, b", "{x}/y.pth", "/0100"])
@pytest.mark.parametrize("name", ["data.camvid.root", "train.network.weights"])
def test_a_path_is_taken_as_it_is_written(name, path):
    assert parse_assignments([f"{name}={path}"]) == {name: path}
    assert parse_assignments([f"{name}='{path}'"]) == {name: path}


def test_features_of_a_file_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"unit.features": "vgg16@3:w.pth", "a.features": "vgg16:random", "b.features": "segmenter:artifact:57"}
    assert absolute_paths(given) == given | {"unit.features": f"vgg16@3:{tmp_path / 'w.pth'}"}


@pytest.mark.parametrize("field", ["train.loss.alpha", "train.loop.steps", "train.batch_size"])
def test_true_is_no_number(field):
    assert f"{field}: takes no true or false (got true)" in refusal({field: True})


def test_the_command_line_beats_the_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("train: {loss: {alpha: 0.25, gamma: 3}}\ndata: {camvid: {root: /file}}\n")
    line = ["train.loss.alpha=0.75", "data.camvid.root=/line"]
    graph, request = Setup(assignments=line, config_files=[path], workers=2).configured("demo")
    assert graph.stages["train"].config.loss.alpha == 0.75
    assert graph.stages["train"].config.loss.gamma == 3
    assert request.roots == {"camvid": Path("/line")}
    assert request.workers == 2


def test_roots_of_data_sets_are_no_fields():
    fields, roots = split_roots({"data.camvid.root": "~/camvid", "train.loss.alpha": 0.5})
    assert fields == {"train.loss.alpha": 0.5}
    assert roots == {"camvid": Path("~/camvid").expanduser()}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("data.camvd.root", "/x", "did you mean 'camvid'"),
        ("data.camvid.rot", "/x", "only data.NAME.root=DIR"),
        ("data.camvid", "/x", "only data.NAME.root=DIR"),
        ("data.camvid.root", 3, "only data.NAME.root=DIR"),
    ],
)
def test_a_wrong_root_is_refused(name, value, said):
    with pytest.raises(UserError, match=said):
        split_roots({name: value})


def test_an_unknown_experiment_or_preset_offers_the_nearest():
    with pytest.raises(UserError, match="unknown experiment 'dmeo': did you mean 'demo'"):
        Setup().configured("dmeo")
    with pytest.raises(UserError, match="no preset 'toy_cty': did you mean 'toy_city'"):
        Setup(preset="toy_cty").configured("demo")
