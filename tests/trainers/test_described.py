"""What stands beside the files of a stage has the shape that its readers rely on, or is named."""

from pathlib import Path
from typing import Any

import pytest

from trainers.data.datasets import DataSplit
from trainers.data.label_files import LabelFiles
from trainers.errors import UserError
from trainers.measures.features import Features
from trainers.segmentation.trained import read_description, trained_on
from trainers.translation.translators import read_translator

SPLIT = DataSplit.model_validate("toy_city/day_val")
READERS: dict[str, tuple[str, Any]] = {
    "segmenter": ("segmenter.json", read_description),
    "what it was trained on": ("segmenter.json", trained_on),
    "translator": ("translator.json", read_translator),
    "features": ("features.json", Features.open),
    "labels": ("labels.json", lambda folder: LabelFiles.open(folder, SPLIT, images=1, height=8, width=8)),
}
TEXTS = ["", "{", "{}", "[]", "3", "null", '{"network": 3, "height": "x"}']


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_description_of_another_shape_is_one_line(tmp_path: Path, reader: str, text: str) -> None:
    name, read = READERS[reader]
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    is_other = reader == "labels" and text.startswith("{") and text != "{"  # Labels, but of nothing that is wanted.
    assert "of other images" in str(caught.value) if is_other else str(tmp_path / name) in str(caught.value)
    assert str(caught.value).isprintable()
