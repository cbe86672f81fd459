import numpy as np
import pytest

from trainers.data.datasets import DATASETS
from trainers.data.label_spaces import CAMVID, CITYSCAPES, CLASS_NAMES, CLASS_SETS, COLORS, IGNORE_LABEL, lookup_table

TRAIN_ID_OF_LABEL_ID = {
    7: ("road", 0), 8: ("sidewalk", 1), 11: ("building", 2), 12: ("wall", 3), 13: ("fence", 4), 17: ("pole", 5),
    19: ("traffic_light", 6), 20: ("traffic_sign", 7), 21: ("vegetation", 8), 22: ("terrain", 9), 23: ("sky", 10),
    24: ("person", 11), 25: ("rider", 12), 26: ("car", 13), 27: ("truck", 14), 28: ("bus", 15), 31: ("train", 16),
    32: ("motorcycle", 17), 33: ("bicycle", 18),
}  # fmt: skip


def test_cityscapes_label_ids_become_train_ids_as_in_cityscapes_scripts():
    table = lookup_table(CITYSCAPES)
    assert table.dtype == np.uint8
    assert table.shape == (256,)
    for label_id in range(256):
        name, train_id = TRAIN_ID_OF_LABEL_ID.get(label_id, (None, 255))
        assert table[label_id] == train_id, label_id
        assert name is None or CLASS_NAMES[train_id] == name
    assert (table != 255).sum() == 19
    assert table[34] == table[255] == 255


def test_only_the_ids_of_cityscapes_scripts_are_known():
    assert set(CITYSCAPES) == {*range(34), 255}
    assert IGNORE_LABEL == 255


def test_camvid_indices_become_train_ids():
    names = ("sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic_sign", "fence", "car", "person",
             "bicycle")  # fmt: skip
    table = lookup_table(CAMVID)
    assert [CLASS_NAMES[table[index]] for index in range(11)] == list(names)
    assert table[:12].tolist() == [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]
    assert set(table[11:].tolist()) == {255}


def test_class_sets_hold_what_the_labels_can_show():
    assert CLASS_SETS["cityscapes19"] == tuple(range(19))
    assert CLASS_SETS["camvid11"] == (0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 18)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].label_map])
def test_every_data_set_averages_over_the_classes_of_its_labels(name: str):
    dataset = DATASETS[name]
    assert set(CLASS_SETS[dataset.class_set]) == set(dataset.label_map.values()) - {255}


def test_colors_are_distinct_and_official():
    assert len(set(COLORS)) == len(COLORS) == len(CLASS_NAMES) == 19
    assert COLORS[0] == (128, 64, 128)
    assert COLORS[CLASS_NAMES.index("car")] == (0, 0, 142)
    assert COLORS[CLASS_NAMES.index("bicycle")] == (119, 11, 32)
