import itertools

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from tests.references import losses as reference
from trainers.components.configs import LossConfig
from trainers.components.losses import combined_loss, focal_modulation

WEIGHTS = tuple(0.25 + 0.1 * train_id for train_id in range(19))


def random_batch(seed: int = 0, *, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Two images of 19 classes, a fifth of the pixels ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 19, 3, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(19, (2, 3, 4), generator=generator)
    ignored = torch.rand(2, 3, 4, generator=generator) < 0.2
    assert ignored.any()
    return logits.requires_grad_(), labels.masked_fill(ignored, 255).to(torch.uint8)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("normalise", [False, True])
def test_losses_equal_the_slow_loop(alpha: float, gamma: float, weights: tuple[float, ...] | None, normalise: bool):
    config = LossConfig(alpha=alpha, gamma=gamma, focal_class_weights=weights, normalise_focal=normalise)
    for seed in range(3):
        logits, labels = random_batch(seed)
        losses = combined_loss(logits, labels, config)
        lists = (logits.tolist(), labels.tolist())
        options = {"gamma": gamma, "weights": weights, "normalise": normalise}
        assert losses["cross_entropy"].item() == pytest.approx(reference.cross_entropy(*lists), rel=1e-6)
        assert losses["focal"].item() == pytest.approx(reference.focal(*lists, **options), rel=1e-6)
        assert losses["loss"].item() == pytest.approx(reference.combined(*lists, alpha=alpha, **options), rel=1e-6)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, logits)
    return result


def test_alpha_one_is_cross_entropy_exactly():
    logits, labels = random_batch()
    valid = (labels != 255).sum()
    expected = functional.cross_entropy(logits, labels.long(), ignore_index=255, reduction="none").sum() / valid
    loss = combined_loss(logits, labels, LossConfig(alpha=1.0, gamma=2.0, focal_class_weights=WEIGHTS))["loss"]
    assert torch.equal(loss, expected)
    assert torch.equal(gradient(loss, logits), gradient(expected, logits))
    torch.testing.assert_close(expected, functional.cross_entropy(logits, labels.long(), ignore_index=255))


@pytest.mark.parametrize("normalise", [False, True])
def test_alpha_zero_is_focal_exactly(normalise: bool):
    logits, labels = random_batch()
    losses = combined_loss(logits, labels, LossConfig(alpha=0.0, gamma=2.0, normalise_focal=normalise))
    assert torch.equal(losses["loss"].detach(), losses["focal"])
    assert losses["focal"] != losses["cross_entropy"]


def test_focal_without_gamma_and_weights_is_cross_entropy():
    logits, labels = random_batch()
    for normalise in (False, True):
        losses = combined_loss(logits, labels, LossConfig(alpha=0.0, gamma=0.0, normalise_focal=normalise))
        torch.testing.assert_close(losses["focal"], losses["cross_entropy"], rtol=1e-12, atol=0)


def test_a_pixel_at_probability_nine_tenths_counts_a_hundredth():
    log_probability = torch.tensor([[[0.9]]], dtype=torch.float64).log()
    assert focal_modulation(log_probability, 2.0).item() == pytest.approx(0.01)
    assert focal_modulation(log_probability, 0.0).item() == 1.0


def test_normalised_focal_is_the_mean_cross_entropy_weighed_by_the_modulation():
    """The divisor is detached, so it scales the gradient and adds nothing to it."""
    logits, labels = random_batch()
    plain = combined_loss(logits, labels, LossConfig(alpha=0.0, gamma=2.0))["loss"]
    normalised = combined_loss(logits, labels, LossConfig(alpha=0.0, gamma=2.0, normalise_focal=True))["loss"]
    torch.testing.assert_close(gradient(normalised, logits) * plain / normalised, gradient(plain, logits))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_batch_without_valid_pixels_costs_nothing(alpha: float, normalise: bool):
    logits, labels = random_batch()
    config = LossConfig(alpha=alpha, gamma=0.5, focal_class_weights=WEIGHTS, normalise_focal=normalise)
    losses = combined_loss(logits, torch.full_like(labels, 255), config)
    assert all(value.item() == 0 for value in losses.values())
    assert torch.equal(gradient(losses["loss"], logits), torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_saturated_logits_have_finite_gradients(dtype: torch.dtype, sign: int):
    """A root has an infinite slope at 0: p_t = 1 must not make NaN of it."""
    labels = torch.zeros(1, 2, 2, dtype=torch.uint8)
    for normalise, gamma in itertools.product((False, True), (0.5, 2.0)):
        logits = torch.zeros(1, 19, 2, 2, dtype=dtype)
        logits[:, 0] = sign * 1e4
        logits.requires_grad_()
        loss = combined_loss(logits, labels, LossConfig(alpha=0.5, gamma=gamma, normalise_focal=normalise))["loss"]
        assert loss.isfinite()
        assert gradient(loss, logits).isfinite().all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_legacy_form_modulates_one_number(alpha: float, gamma: float):
    config = LossConfig(alpha=alpha, gamma=gamma, focal_form="batch_mean_legacy")
    logits, labels = random_batch()
    losses = combined_loss(logits, labels, config)
    expected = reference.batch_mean_legacy(logits.tolist(), labels.tolist(), alpha=alpha, gamma=gamma)
    for name, value in zip(("cross_entropy", "focal", "loss"), expected, strict=True):
        assert losses[name].item() == pytest.approx(value, rel=1e-6), name
    mean = functional.cross_entropy(logits, labels.long(), ignore_index=255)
    whole = alpha * mean / 2 + (1 - alpha) * 0.5 * (1 - torch.exp(-mean)) ** gamma * mean / 2
    torch.testing.assert_close(gradient(losses["loss"], logits), gradient(whole, logits))
    empty = combined_loss(logits, torch.full_like(labels, 255), config)
    assert float(empty["loss"]) == 0
    assert gradient(empty["loss"], logits).isfinite().all()


def test_the_legacy_form_takes_no_options_of_the_other():
    with pytest.raises(ValidationError, match="batch_mean_legacy knows no normalise_focal"):
        LossConfig(focal_form="batch_mean_legacy", normalise_focal=True)


class Shards:
    """Sums over shards that run one after the other: the first pass records what each would reduce."""

    def __init__(self) -> None:
        self.recorded: list[list[Tensor]] = []

    def record(self, tensor: Tensor) -> Tensor:
        self.recorded[-1].append(tensor.detach())
        return tensor.detach()

    def totals(self) -> list[Tensor]:
        return [torch.stack(parts).sum(dim=0) for parts in zip(*self.recorded, strict=True)]


@pytest.mark.parametrize("form", ["plain", "normalised", "batch_mean_legacy"])
@pytest.mark.parametrize("shares", [(slice(0, 1), slice(1, 2)), (slice(0, 2), slice(2, 2))])
def test_shards_add_up_to_the_whole_batch(form: str, shares: tuple[slice, slice]):
    config = LossConfig(alpha=0.4, gamma=1.5, focal_class_weights=WEIGHTS, normalise_focal=form == "normalised")
    if form == "batch_mean_legacy":
        config = LossConfig(alpha=0.4, gamma=1.5, focal_form="batch_mean_legacy")
    logits, labels = random_batch()
    whole = combined_loss(logits, labels, config)
    shards = Shards()
    for share in shares:
        shards.recorded.append([])
        combined_loss(logits[share], labels[share], config, all_reduce=shards.record)
    parts = []
    for share in shares:
        totals = iter(shards.totals())
        parts.append(
            combined_loss(logits[share], labels[share], config, all_reduce=lambda _, totals=totals: next(totals))
        )
        assert next(totals, None) is None
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value)
    torch.testing.assert_close(gradient(sum(part["loss"] for part in parts), logits), gradient(whole["loss"], logits))
    unequal = (labels[0] != 255).sum() != (labels[1] != 255).sum()
    assert unequal  # Else the mean of means would pass too.
