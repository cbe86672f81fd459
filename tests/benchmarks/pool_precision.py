"""Does a selection pick the right part of the dirty pool? Precision of each scorer by the pool's hidden provenance.

``python -m tests.benchmarks.pool_precision --storage DIR``, where arm 4.1 of ``night_self_training`` (Toy City) has
run: every scorer sorts that pool by the features, the reference and the colors that are there already. Precision is
the share of what is taken that is truly night; nothing but this check reads what the images are.
"""

import argparse
import tempfile
from pathlib import Path

from orchestrator.artifacts import Store
from orchestrator.experiments import build
from orchestrator.graph import Seeds, plan
from tests.references.selection import precision_by_provenance
from trainers.context import PlainContext
from trainers.errors import UserError
from trainers.selection import select_images
from trainers.selection.select_images_config import Config

SCORERS = ("random", "histogram", "frechet_dirac", "mahalanobis", "knn_precision")
QUANTILE = 0.107


def main() -> None:
    """A line for each scorer: as the study's share of the lowest scores, brightness also as its band."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pool_precision", description=__doc__)
    parser.add_argument("--storage", type=Path, required=True, help="storage of a finished arm 4.1")
    storage = parser.parse_args().storage
    study = build("night_self_training", "toy_city")
    planned = plan(study, study.arms["4.1"], seeds=Seeds(0, 0, "declared"), fingerprints=str)
    store, inputs = Store(storage), {}
    for role, name in (("toy_city", "city_pool"), ("features", "pool_features"), ("reference", "reference_features"),
                       ("colors", "pool_colors")):  # fmt: skip
        artifact = store.find(planned[name].method.name, planned[name].key)
        if artifact is None:
            raise UserError(f"{storage} lacks {name}: nightshift run night_self_training --arms 4.1 makes it")
        inputs[role] = artifact.folder
    base: Config = study.stages["select_fid"].config  # type: ignore[assignment]
    band = study.stages["select_his"].config.model_copy(update={"unlabeled_ratio": None})
    shares = [(scorer, base.model_copy(update={"scorer": scorer, "quantile": QUANTILE, "unlabeled_ratio": None}))
              for scorer in SCORERS]  # fmt: skip
    for label, config in [*shares, ("histogram, the study's band", band)]:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder)
            result = select_images.run(config, inputs, output, None, PlainContext(output / "checkpoints"))
            precision, share = precision_by_provenance(
                output / "scores.parquet", inputs["toy_city"] / "night_pool" / "provenance.csv"
            )
        terms = [result[name] for name in ("fid", "fid_mean_term", "fid_covariance_term")]
        taken = f"{100 * precision:.0f} % of {result['images']} are night (of the pool {100 * share:.0f} %)"
        print(f"{label}: {taken}, distance {terms[0]:.3g} = {terms[1]:.3g} + {terms[2]:.3g}")


if __name__ == "__main__":
    main()
