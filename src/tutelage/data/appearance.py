"""How an image looks, whatever is on it: a few numbers that move with the light, the colours, the sharpness."""

import numpy as np
from jaxtyping import Float, UInt8

BANDS = 4  # of the amplitude spectrum, from coarse to fine


def appearance(images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n d"]:
    """Of each channel mean, standard deviation and quartiles (0..1); of the grey image the log power of each band."""
    pixels = images.astype(np.float32) / 255
    flat = pixels.reshape(len(pixels), -1, 3)
    moments = [flat.mean(axis=1), flat.std(axis=1), *np.quantile(flat, (0.25, 0.5, 0.75), axis=1)]
    return np.concatenate([*moments, _power(pixels.mean(axis=-1))], axis=1).astype(np.float32)


def _power(grey: Float[np.ndarray, "n s s"]) -> Float[np.ndarray, "n b"]:
    size = grey.shape[-1]
    spectrum = np.square(np.abs(np.fft.fft2(grey))) / size**4
    along = np.abs(np.fft.fftfreq(size))
    radius = np.hypot(along[:, None], along[None])
    edges = np.quantile(radius[radius > 0], np.linspace(0, 1, BANDS + 1))
    place = np.digitize(radius, edges[1:-1], right=True)
    bands = [spectrum[:, (place == band) & (radius > 0)].mean(axis=1) for band in range(BANDS)]
    power: np.ndarray = np.log(np.stack(bands, axis=1) + 1e-8)  # a flat image has none
    return power
