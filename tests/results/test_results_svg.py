"""Scales and colors of a report's charts."""

import re

import numpy as np
import pytest

from results.report.svg import Scale, color, scale


@pytest.mark.parametrize("log", [False, True])
def test_scales_keep_every_value_inside_and_ticks_round(log):
    values = [0.00013, 0.02, 0.7]
    found = scale(values, 50, 400, log=log)
    pixels = [found(value) for value in values]
    assert pixels == sorted(pixels)
    assert 50 <= pixels[0] < pixels[-1] <= 400
    assert 2 <= len(found.ticks()) <= 9
    assert all(
        found.low <= tick <= found.high and float(f"{tick:.2g}") == pytest.approx(tick) for tick in found.ticks()
    )


def test_a_scale_of_one_value_puts_it_into_the_middle():
    assert Scale(3, 3, 0, 10)(3) == 5
    assert scale([3], 0, 10)(3) == 5


def test_colors_get_lighter_with_the_value():
    light = [sum(map(int, re.findall(r"\d+", color(share)))) for share in np.linspace(0, 1, 21)]
    assert light == sorted(light)
    assert color(-1) == color(0)
    assert color(2) == color(1)
