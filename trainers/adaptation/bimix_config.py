"""Configuration of Bi-Mix."""

from pydantic import Field

from trainers.adaptation.dannet_config import Config as DANNetConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class SourceToNightConfig(BaseConfig):
    """Trans2Seg: source classes on night images, labeled by the source and by the labels of the pair."""

    weight: float = Field(0.001, ge=0)
    """Weight of the loss on these mixes; 0 leaves the direction out. Source: .001, which is next to nothing."""
    threshold: float = Field(0.968, ge=0, le=1)
    """Confidence from which on a night pixel is sure; the share of these weighs what was not pasted. Source: .968."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the source's classes that is pasted, rounded up. Source: .5."""


class DayToNightConfig(BaseConfig):
    """Seg2Trans: what moves in the day image, as the segmenter sees it, on the night image of its pair."""

    consistency_weight: float = Field(0.001, ge=0)
    """Weight of the consistency: the L1 distance between what relighting adds to the mix and to the day image.
    Source: .001."""
    light_weight: float = Field(0.0, ge=0)
    """Weight of DANNet's light losses on the mix. Source: 0, so that without consistency the direction is off."""

    def is_on(self) -> bool:
        """Whether the mix is made."""
        return self.consistency_weight > 0 or self.light_weight > 0


class Config(DANNetConfig):
    """DANNet with images mixed in both directions."""

    as_released: bool = False
    """Repeat what the released code does otherwise than the method says: labels of the mix without what moves, and
    shifted at their borders; the static loss on the mix instead of the night image, without tolerance
    (``static.tolerance`` has no say); the mix predicted without relighting; persons not among what moves. One thing it
    does is not repeated: 255 is a class there, and pasted with the others."""
    source_to_night: SourceToNightConfig = SourceToNightConfig()
    day_to_night: DayToNightConfig = DayToNightConfig()
