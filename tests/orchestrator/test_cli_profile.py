import json

import pytest


def test_several_networks_stand_in_one_table(nightshift):
    done = nightshift("profile", "bisenet", "FPN", "--size", "32", "64", "--seconds", "0")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    (bisenet,) = [line for line in lines if line[:1] == ["bisenet:resnet18"]]
    assert bisenet[1:3] == ["12068672", "12581672"]
    assert [line for line in lines if line[:1] == ["FPN:resnet18"]]
    assert "latency" not in done.out


def test_json_holds_what_was_measured(nightshift):
    done = nightshift("profile", "bisenet", "--size", "32", "64", "--seconds", "0.05", "--device", "cpu", "--json")
    found = json.loads(done.out)
    assert (found["height"], found["width"]) == (32, 64)
    (network,) = found["networks"]
    assert network["parameters"] == 12_068_672
    assert network["flops"] == 2 * network["macs"]
    assert network["iterations"] >= 1
    assert network["latency_ms"] > 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("bisnet",), ("unknown architecture 'bisnet'", "'bisenet'")),
        (("FPN:resnet81",), ("unknown encoder 'resnet81'", "'resnet18'")),
        (("FPN:tu-resnet81",), ("'tu-resnet81'", "'tu-resnet18'")),
        (("FPN", "--size", "100", "128"), ("height 100", "multiple of 32", "96")),
        (("bisenet", "--size", "10", "128"), ("height 10", "nearest is 32")),
        (("bisenet", "--device", "tpu"), ("--device tpu", "use cpu")),
        (("deeplabv2:vgg11", "--seconds", "0"), ("deeplabv2", "vgg11", "resnet18")),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(nightshift, words, what):
    done = nightshift("profile", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    for part in what:
        assert part in done.err
