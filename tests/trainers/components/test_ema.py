import copy

import pytest
import torch
from torch import nn

from tests.references import adaptation as reference
from trainers.components.ema import build_teacher, decay_at, set_teacher_mode, update_teacher


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))


def test_the_decay_ramps_up_to_alpha():
    found = [decay_at(step, 0.01) for step in range(1, 151)]
    assert found == reference.teacher_decays(150, 0.99)
    assert found[:3] == pytest.approx([0, 1 / 2, 2 / 3])
    assert found[98] < 0.99 == found[99] == found[149]


def test_the_first_update_makes_a_copy_and_later_ones_average():
    student = network()
    teacher = build_teacher(student)
    states = []
    for step in range(1, 6):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        states.append(copy.deepcopy(list(student.parameters())))
        update_teacher(teacher, student, decay_at(step, 0.4))
        if step == 1:
            assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True))
    for index, parameter in enumerate(teacher.parameters()):
        expected = torch.zeros_like(parameter)
        for alpha, state in zip(reference.teacher_decays(5, 0.6), states, strict=True):
            expected = alpha * expected + (1 - alpha) * state[index]
        torch.testing.assert_close(parameter, expected)


def test_no_gradient_reaches_the_teacher():
    teacher = build_teacher(network())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(torch.rand(2, 3, 4, 4)).requires_grad


def test_a_teacher_uses_the_statistics_of_its_batch_or_the_student_s_and_never_its_first_ones():
    student = network()
    teacher, images = build_teacher(student), torch.rand(8, 3, 4, 4) * 5 + 3
    student.train()
    for _ in range(50):
        student(images)
    set_teacher_mode(teacher, student, "batch")
    by_batch = teacher(images)
    set_teacher_mode(teacher, student, "student")
    by_student = teacher(images)
    expected = copy.deepcopy(student).eval()(images)
    torch.testing.assert_close(by_student, expected)
    normalized = functional_batch_norm(student, images)
    torch.testing.assert_close(by_batch, normalized)
    stale = network().eval()(images)
    assert (by_student - stale).abs().max() > 0.1


def functional_batch_norm(student: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The network with the statistics of ``images`` and without dropout."""
    features = student[0](images)
    mean, variance = features.mean(dim=(0, 2, 3)), features.var(dim=(0, 2, 3), correction=0)
    normalized = (features - mean[None, :, None, None]) / (variance[None, :, None, None] + 1e-5).sqrt()
    return student[3](normalized).detach()
