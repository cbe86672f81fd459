"""The teacher: a copy of the student whose weights follow it slowly."""

from copy import deepcopy

import torch
from torch import nn


def build_teacher(student: nn.Module) -> nn.Module:
    """A copy that no gradient reaches."""
    return deepcopy(student).requires_grad_(False)


def decay_at(step: int, rate: float) -> float:
    """alpha = min(1 - 1 / step, 1 - rate) for steps from 1: 0, .5, .667 … so the teacher starts as a copy.

    Source: Tarvainen and Valpola, Mean teachers; vikolss/DACS, trainUDA.py (counting from 0, rate .01).
    """
    return min(1 - 1 / step, 1 - rate)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, alpha: float) -> None:
    """teacher ← alpha · teacher + (1 - alpha) · student, parameters only; ``set_teacher_mode`` settles the rest."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - alpha)


@torch.no_grad()
def set_teacher_mode(teacher: nn.Module, student: nn.Module, batch_norm: str) -> None:
    """Dropout off; batch norm by the statistics of the teacher's own batch, or by the student's running ones.

    Args:
        teacher: what predicts next; may be the student itself.
        student: whose running statistics are taken.
        batch_norm: ``batch`` or ``student``. A teacher that kept the statistics it started with would be wrong soon:
            its weights move and they would not.
    """
    teacher.eval()
    if batch_norm == "batch":
        for module in teacher.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()
    elif teacher is not student:
        for mine, theirs in zip(teacher.buffers(), student.buffers(), strict=True):
            mine.copy_(theirs)
