"""How long a training stage runs and when it looks at itself."""

from pydantic import Field

from trainers.config import Config, runtime_field


class LoopConfig(Config):
    """The schedule of one training stage. Every field counts optimizer steps."""

    steps: int = Field(800, ge=1)
    """Length of the training."""
    score_every_steps: int = Field(100, ge=1)
    """Distance of scores on the selection split; the last step is always scored."""
    log_every_steps: int = Field(20, ge=1)
    """Losses on the curves are means over this many steps."""
    checkpoint_every_steps: int = runtime_field(100, ge=1)
    """Distance of checkpoints: the most that a kill costs."""
    checkpoint_every_seconds: float = runtime_field(300.0, gt=0)
    """A checkpoint also follows the first logged step after so long."""
