"""Configuration of the selection of unlabeled images."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None

WITH_REFERENCE = ("frechet_dirac", "mahalanobis", "knn_precision")
"""Scorers that compare with a reference."""


class Config(BaseConfig):
    """Choose images of a pool by a score of each, as the data set ``selected``."""

    pool: DataSplit
    """Images to choose from; labels that they may have are not read."""
    labeled: tuple[DataSplit, ...] = Field(min_length=1)
    """The labeled splits whose images ``unlabeled_ratio`` counts by; only their number is used, and a split that is
    named twice counts twice: in place of a translation, what it is made of, and nothing waits for the translator."""
    scorer: Literal["histogram", "frechet_dirac", "mahalanobis", "knn_precision", "random"] = "frechet_dirac"
    """``histogram``: brightness, of the input ``colors``; ``random``: none; the others compare the input ``features``
    with the input ``reference`` (``selection.scorers``). The source's "FID" is ``frechet_dirac``."""
    threshold: float | None = None
    """Largest score that is accepted, in the scorer's own unit; unset: any. Source: 450 for the Fréchet distance, of
    unknown features, so its share of accepted images is the better guide; 20 for brightness. ``knn_precision``: 1."""
    quantile: float | None = Field(None, gt=0, le=1)
    """The same as a share of the pool, the lowest scores. Source: 1600 of 14937 images, .107. With ``threshold`` both
    must hold."""
    lower: float | None = None
    """Scores must be above it; unset: no bound. Source: 15 for brightness, to leave out what is too dark."""
    unlabeled_ratio: float | None = Field(None, gt=0, le=100)
    """Images to take of the accepted ones, for each labeled image; fewer where fewer are accepted; unset takes all.
    Source: a quarter; 1600 / 5950."""
    order: Literal["random", "score", "quantile_match"] = "random"
    """Which of the accepted are taken: any, those with the lowest scores, or those whose scores are distributed as
    the reference's own are. The lowest ones lie close together: see the Fréchet distance's covariance term."""
    selection_seed: int = Field(0, ge=0)
    """Of ``random``, scorer or order: no trial's seed, the images are the same in every trial."""
    red_weight: float = Field(0.5, ge=0, le=1)
    """Weight of red in the brightness, for lamps are red. Source: .5."""
    scale: Literal["mean", "sum", "percent"] = "percent"
    """Of the brightness (``selection.light``). The source is silent; in percent its 15 to 20 is a lit night, on the
    other two it would be next to black, which it wants to avoid."""
    shrinkage: float = Field(0.1, ge=0, le=1)
    """Share of the isotropic part of ``mahalanobis``'s covariance."""
    neighbors: int = Field(3, ge=1)
    """k of ``knn_precision``. Source: 3."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Chosen images to show, evenly spaced by score, beside as many that were not."""

    def reads_input(self, role: str) -> bool:
        """Colors are read by the histogram; features and reference also where they only measure what was chosen."""
        return role != "colors" or self.scorer == "histogram"

    @model_validator(mode="after")
    def _has_scores_to_match(self) -> "Config":
        if self.order == "quantile_match" and self.scorer not in WITH_REFERENCE:
            raise ValueError(
                f"order quantile_match needs scores of a reference, and {self.scorer} has none; take one of "
                f"{', '.join(WITH_REFERENCE)}, or order random"
            )
        return self
