"""Photometric changes pixel by pixel, in plain Python; images are lists of rows of (red, green, blue) in 0…1."""

import colorsys
import math


def gray(pixel):
    return 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def clip(pixel):
    return tuple(min(1.0, max(0.0, value)) for value in pixel)


def per_pixel(image, change):
    return [[clip(change(pixel)) for pixel in row] for row in image]


def brightness(image, factor):
    return per_pixel(image, lambda pixel: [factor * value for value in pixel])


def contrast(image, factor):
    pixels = [pixel for row in image for pixel in row]
    mean = sum(map(gray, pixels)) / len(pixels)
    return per_pixel(image, lambda pixel: [mean + factor * (value - mean) for value in pixel])


def saturation(image, factor):
    return per_pixel(image, lambda pixel: [gray(pixel) + factor * (value - gray(pixel)) for value in pixel])


def hue(image, turns):
    def turn(pixel):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)

    return per_pixel(image, turn)


def gamma(image, exponent):
    return per_pixel(image, lambda pixel: [value**exponent for value in pixel])


def blur(image, sigma, radius):
    """Gaussian of ``sigma``, cut off after ``radius``; the border is mirrored without its own pixel."""
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    weights = [weight / sum(weights) for weight in weights]
    height, width = len(image), len(image[0])

    def mirror(index, size):
        index = abs(index)
        return index if index < size else 2 * (size - 1) - index

    def along(line, size):
        return [
            tuple(
                sum(
                    weight * line[mirror(position + offset, size)][channel]
                    for weight, offset in zip(weights, range(-radius, radius + 1), strict=True)
                )
                for channel in range(3)
            )
            for position in range(size)
        ]

    columns = [along([image[y][x] for y in range(height)], height) for x in range(width)]
    return [along([columns[x][y] for x in range(width)], width) for y in range(height)]
