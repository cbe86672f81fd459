"""What only a GPU can show: mixed precision learns, memory comes back. ``pytest tests/gpu``."""

import gc
from pathlib import Path

import pytest
import torch

from orchestrator.trial import Place, prepare_process
from trainers.components.fourier import transfer_style
from trainers.context import PlainContext
from trainers.data.toy_city import write_tree
from trainers.segmentation import supervised
from trainers.segmentation.supervised_config import Config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("city")
    for _ in write_tree(root, seed=0, height=64, width=128, counts={"day": {"train": 16, "val": 4}}):
        pass
    return root


def config(precision: str, steps: int = 20) -> Config:
    fields = {
        "train": ["toy_city/day_train"],
        "select": "toy_city/day_val",
        "height": 64,
        "width": 128,
        "precision": precision,
        "loop": {"steps": steps, "score_every_steps": steps, "log_every_steps": steps},
    }
    return Config.model_validate(fields).resolved(device_type="cuda")


def train(city: Path, folder: Path, precision: str) -> dict[str, float]:
    folder.mkdir(parents=True)
    seen: list[dict[str, float]] = []
    context = PlainContext(folder / "run", device="cuda", on_report=lambda metrics: seen.append(dict(metrics)))
    supervised.run(config(precision), {"toy_city": city}, folder, 0, context)
    return seen[-1]


def test_mixed_precision_learns_as_single_precision_does(city: Path, tmp_path: Path) -> None:
    assert config("auto").precision == "bfloat16"
    half, single = (train(city, tmp_path / name, name) for name in ("bfloat16", "float32"))
    assert half["loss"] == pytest.approx(single["loss"], rel=0.05)


def test_memory_is_back_at_its_start_after_ten_trials(city: Path, tmp_path: Path) -> None:
    used = []
    for number in range(10):
        train(city, tmp_path / str(number), "bfloat16")
        gc.collect()
        torch.cuda.empty_cache()
        used.append(torch.cuda.memory_allocated())
    assert used[-1] <= used[0] + 1_000_000


def test_what_a_trial_left_in_a_cycle_is_free_before_the_next_one_starts(tmp_path: Path) -> None:
    """As in a reused process: an exception keeps its frames, and those the network and its gradients."""
    place = Place(storage=tmp_path, roots={}, fingerprints={}, device_type="cuda", gpus=0.5)
    prepare_process(place)
    before = torch.cuda.memory_reserved()

    def trial() -> None:
        network = torch.nn.Linear(4096, 4096, device="cuda")
        network(torch.ones(64, 4096, device="cuda")).sum().backward()
        cycle: list[object] = [network]
        cycle.append(cycle)

    gc.disable()
    try:
        trial()
        assert torch.cuda.memory_allocated() > 100_000_000
        prepare_process(place)
    finally:
        gc.enable()
    assert torch.cuda.memory_reserved() <= before + 30_000_000  # cuBLAS keeps its workspace.


def test_a_transfer_on_the_device_is_that_of_the_host_though_tensor_cores_may_round() -> None:
    random = torch.Generator().manual_seed(0)
    source, target = (torch.randint(0, 256, (2, 3, 512, 1024), generator=random).float() for _ in range(2))
    torch.backends.cuda.matmul.allow_tf32 = True
    for beta in (0.01, 0.05, 0.2):
        expected = transfer_style(source.double(), target.double(), beta)
        found = transfer_style(source.cuda(), target.cuda(), beta).cpu()
        assert float((found.double() - expected).abs().max()) < 5e-3
