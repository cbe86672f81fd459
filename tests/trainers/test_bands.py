"""Bands of resized logits against the whole image resized at once."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from trainers import bands
from trainers.bands import resized_bands
from trainers.evaluation import predicted_at
from trainers.segmentation.predict import _restored

SIZES = [((8, 16), (37, 53)), ((16, 32), (64, 128)), ((48, 64), (21, 30)), ((9, 7), (9, 7)), ((1, 1), (5, 4)),
         ((30, 40), (30, 80)), ((30, 40), (61, 40)), ((64, 96), (1, 1))]  # fmt: skip


def random_logits(size, seed=0):
    return 5 * torch.randn((19, *size), generator=torch.Generator().manual_seed(seed))


def whole(logits, size):
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize(("size", "wanted"), SIZES)
@pytest.mark.parametrize("band_pixels", [1, 100, 10**6])
def test_bands_are_the_whole_image_row_by_row(size, wanted, band_pixels):
    logits = random_logits(size)
    parts = list(resized_bands(logits, wanted, band_pixels=band_pixels))
    assert all(part.shape[1] * part.shape[2] <= max(band_pixels, wanted[1]) for part in parts)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole(logits, wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_classes_and_confidence_are_those_of_the_whole_image(size, wanted, monkeypatch):
    monkeypatch.setattr(bands, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(bands, "BAND_PIXELS", 64)
    logits = random_logits(size, seed=1)
    expected = whole(logits, wanted)
    best, second = expected.topk(2, dim=0).values
    is_clear = best - second > 1e-4  # Rounding may decide what is no more than a tie.
    prediction = _restored(Path("image.png"), logits, wanted)
    for predicted in (predicted_at(logits, wanted), torch.from_numpy(prediction.train_ids).long()):
        assert predicted.shape == wanted
        assert (predicted == expected.argmax(dim=0))[is_clear].all()
    confidence = expected.softmax(dim=0).amax(dim=0)
    torch.testing.assert_close(torch.from_numpy(prediction.confidence), confidence, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wanted", [(1024, 2048), (1052, 1914), (1080, 1920), (720, 960)])
def test_at_the_sizes_of_benchmarks_every_bit_is_as_it_was(wanted):
    """Scores of these sizes are published: rounding must not decide a tie in another way."""
    logits = random_logits((67, 121), seed=2)
    assert torch.equal(torch.cat(list(resized_bands(logits, wanted)), dim=1), whole(logits, wanted))


def test_memory_does_not_grow_with_the_image():
    """A photograph of 4000×3000: the logits of all its pixels would take 912 MB."""
    largest = max(band.numel() for band in resized_bands(random_logits((96, 128)), (3000, 4000)))
    assert largest <= 19 * bands.BAND_PIXELS
