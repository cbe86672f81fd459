"""FDA in NumPy float64, as its paper's equations and its released NumPy form describe it: whole spectra, shifted."""

import numpy as np


def transfer(source: np.ndarray, target: np.ndarray, beta: float, dtype: type = np.float64) -> np.ndarray:
    """Complex result for images (…, h, w); the method keeps the real part."""
    source, target = source.astype(dtype), target.astype(dtype)
    spectrum = np.fft.fft2(source, axes=(-2, -1))
    phase = np.angle(spectrum)
    amplitude = np.fft.fftshift(np.abs(spectrum), axes=(-2, -1))
    other = np.fft.fftshift(np.abs(np.fft.fft2(target, axes=(-2, -1))), axes=(-2, -1))
    height, width = source.shape[-2:]
    b = int(np.floor(min(height, width) * beta))
    row, column = height // 2, width // 2
    window = np.s_[..., max(row - b, 0) : row + b + 1, max(column - b, 0) : column + b + 1]
    amplitude[window] = other[window]
    amplitude = np.fft.ifftshift(amplitude, axes=(-2, -1))
    return np.fft.ifft2(amplitude * np.exp(1j * phase), axes=(-2, -1))


def transfer_corners(source: np.ndarray, target: np.ndarray, beta: float) -> np.ndarray:
    """The form that the released training calls: the four corners of side b, which are not symmetric."""
    spectrum = np.fft.fft2(source, axes=(-2, -1))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    other = np.abs(np.fft.fft2(target, axes=(-2, -1)))
    b = int(np.floor(min(source.shape[-2:]) * beta))
    for rows in (slice(0, b), slice(source.shape[-2] - b, None)):
        for columns in (slice(0, b), slice(source.shape[-1] - b, None)):
            amplitude[..., rows, columns] = other[..., rows, columns]
    return np.fft.ifft2(amplitude * np.exp(1j * phase), axes=(-2, -1))
