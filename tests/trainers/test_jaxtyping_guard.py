"""The shapes in annotations are checked in every test run; here with shapes that broadcasting would accept."""

import pytest
import torch
from jaxtyping import TypeCheckError

from trainers.components.configs import AugmentationConfig, LossConfig
from trainers.components.losses import combined_loss, focal_modulation
from trainers.data.transforms import augment, build_augmentation
from trainers.evaluation import confusion_matrix


def test_one_prediction_for_two_images_raises():
    labels, predictions = torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(1, 3, 3, dtype=torch.int64)
    assert (labels.long() * 19 + predictions).shape == (2, 3, 3)  # Broadcasting has no objection.
    with pytest.raises(TypeCheckError, match="predictions"):
        confusion_matrix(labels, predictions)
    assert confusion_matrix(labels, predictions.expand(2, -1, -1)).sum() == 18


def test_a_missing_axis_raises():
    assert focal_modulation(torch.zeros(1, 3, 3), 2.0).shape == (1, 3, 3)
    with pytest.raises(TypeCheckError, match="log_probability"):
        focal_modulation(torch.zeros(3, 3), 2.0)


def test_a_wrong_kind_of_number_raises():
    with pytest.raises(TypeCheckError, match="labels"):
        combined_loss(torch.zeros(1, 19, 2, 2), torch.zeros(1, 2, 2), LossConfig())


def test_a_gray_image_raises():
    """Three channels of one would broadcast wherever the normalization is applied."""
    augmentation = build_augmentation(AugmentationConfig(), height=32, width=32)
    with pytest.raises(TypeCheckError, match="image"):
        augment(torch.zeros(1, 32, 32, dtype=torch.uint8), torch.zeros(32, 32, dtype=torch.uint8), augmentation, seed=0)
