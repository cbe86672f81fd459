"""What all translators configure. No torch here: a wrong value is answered at once."""

from typing import Literal

from pydantic import Field

from trainers.config import Config


class GeneratorConfig(Config):
    """An encoder to a latent map at 1 / 2^downsamplings, and a decoder back; ``UNIT``'s."""

    width: int = Field(64, ge=4)
    """Channels at full resolution; they double with each downsampling. Source: 64."""
    downsamplings: int = Field(2, ge=1, le=4)
    """Convolutions of stride 2. Source: 2, so the latent map has a quarter of the height."""
    blocks: int = Field(4, ge=1)
    """Residual blocks that end the encoder, and as many that begin the decoder. Source: 4."""
    weight_sharing: Literal["none", "latent"] = "latent"
    """``latent``: both domains share the last residual block of the encoders and the first of the decoders, the layers
    around the latent map (the paper's assumption; branch version_02). ``none``: as in the released master."""
    decoder_normalization: Literal["layer", "none"] = "layer"
    """Of the decoder's upsampling convolutions. Source: layer; the thesis adds it to what it calls UNIT's."""

    def stride(self) -> int:
        """What height and width of an image must be multiples of."""
        return int(2**self.downsamplings)


class DiscriminatorConfig(Config):
    """Patch discriminators at several scales, each on the image halved once more."""

    width: int = Field(64, ge=4)
    """Channels of the first convolution; they double with each further one, up to eight times. Source: 64."""
    layers: int = Field(4, ge=1, le=6)
    """Convolutions of stride 2. Source: 4."""
    scales: int = Field(3, ge=1, le=5)
    """Source: 3."""

    def least_pixels(self) -> int:
        """The smallest side: each convolution mirrors a border of one pixel, so its input needs two."""
        return int(2 ** (self.layers + self.scales - 1))


class TranslatorOptimizerConfig(Config):
    """One optimizer for all generators and one for all discriminators, alike."""

    name: Literal["adam", "sgd"] = "adam"
    """Source: Adam."""
    learning_rate: float = Field(1e-4, gt=0)
    """Source: 1e-4 (UNIT), 2e-4 (pix2pix and its descendants)."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's first beta; SGD's momentum. Source: .5; the second is .999."""
    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty, part of the gradient. Source: 1e-4 (UNIT), 0 (pix2pix)."""
    schedule: Literal["constant", "halving", "linear_decay"] = "halving"
    """``halving`` every ``halve_every_steps`` (UNIT); ``linear_decay`` to 0 over the second half (pix2pix)."""
    halve_every_steps: int = Field(100_000, ge=1)
    """Source: 100 000."""

    def factor(self, step: int, steps: int) -> float:
        """On the rate at ``step`` (1 … steps)."""
        if self.schedule == "halving":
            return float(0.5 ** ((step - 1) // self.halve_every_steps))
        if self.schedule == "linear_decay":
            return min(1.0, 2 * (1 - (step - 1) / steps))
        return 1.0
