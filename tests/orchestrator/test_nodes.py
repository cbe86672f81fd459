"""What a machine answers, and which answers are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.nodes import Seen, compare, look
from trainers.data.datasets import DataSplit
from trainers.errors import UserError

SPLITS = {"camvid/day_val": DataSplit.model_validate("camvid/day_val")}
MINE = Seen("nonce", {"python": "3.11.7", "torch": "2.15.0"}, "code", {"camvid/day_val": "digest"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonce": "No such file"}, ["node 7", "does not see the storage /s", "No such file", "all nodes share"]),
        ({"versions": {"python": "3.11.7", "torch": "2.6.0"}}, ["torch 2.6.0", "driver has 2.15.0"]),
        ({"versions": {"python": "3.11.7"}}, ["torch None"]),
        ({"code": "older"}, ["other code", "nightshift submit"]),
        ({"splits": {"camvid/day_val": "no folder"}}, ["camvid/day_val", "no folder", "same path"]),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_machine_that_differs_is_named_with_the_difference(changes, said):
    with pytest.raises(UserError) as error:
        compare("node 7", Path("/s"), MINE, replace(MINE, **changes))
    for part in said:
        assert part in str(error.value)


def test_a_machine_that_agrees_is_taken():
    compare("node 7", Path("/s"), MINE, replace(MINE))


def test_a_machine_reads_what_the_driver_wrote_and_repeats_it(tmp_path, camvid_root):
    (tmp_path / "driver").write_text("nonce")
    seen = look(tmp_path, "node", {"camvid": camvid_root}, SPLITS)
    assert seen.nonce == (tmp_path / "node").read_text() == "nonce"
    again = look(tmp_path, "other", {"camvid": camvid_root}, SPLITS)
    assert again == seen
    with (camvid_root / "labels" / "day_val_1.png").open("ab") as file:
        file.write(b"x")
    assert look(tmp_path, "node", {"camvid": camvid_root}, SPLITS).splits != seen.splits


def test_a_machine_without_storage_or_data_says_why(tmp_path):
    seen = look(tmp_path / "absent", "node", {"camvid": tmp_path / "nothing"}, SPLITS)
    assert "No such file" in seen.nonce
    assert "does not exist" in seen.splits["camvid/day_val"]
