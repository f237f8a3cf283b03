"""What lies between a scene and its picture: night, fog and the noise of a sensor. Pixels are RGB in 0..1."""

import numpy as np
from jaxtyping import Float

Pixels = Float[np.ndarray, "h w 3"]


def night(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Dark, with crushed shadows and the blue of moonlight; a lamp somewhere keeps a part of the light."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width) - rng.uniform(0.1, 0.9, 2)[:, None, None]
    lamp = np.exp(-(x**2 + y**2) / (2 * rng.uniform(0.25, 0.5) ** 2))
    light = rng.uniform(0.35, 0.5) + rng.uniform(0.15, 0.4) * lamp
    tint = np.array([rng.uniform(0.6, 0.8), rng.uniform(0.75, 0.9), 1.0])
    dark: np.ndarray = pixels ** rng.uniform(1.1, 1.4) * light[..., None] * tint
    return dark


def fog(pixels: Pixels, depth: Float[np.ndarray, "h w"], rng: np.random.Generator) -> Pixels:
    """Haze that thickens with the distance: J t + A (1 - t), t = exp(-beta depth), depth in metres.

    Koschmieder's law as in Sakaridis et al., Semantic Foggy Scene Understanding, eqs. 1 and 2.
    https://arxiv.org/abs/1708.07819
    """
    air = rng.uniform(0.75, 0.92) + rng.uniform(-0.03, 0.03, 3)
    through = np.exp(-rng.uniform(0.15, 0.4) * depth)[..., None]
    hazy: np.ndarray = pixels * through + air * (1 - through)
    return hazy


def sensor(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Noise whose variance grows with the light (photons) from a floor (the electronics), clipped as a sensor does.

    Foi et al., Practical Poissonian-Gaussian Noise Modeling. IEEE TIP 2008. https://doi.org/10.1109/TIP.2008.2001399
    """
    variance = rng.uniform(0.0002, 0.0012) * np.clip(pixels, 0, 1) + rng.uniform(0.005, 0.02) ** 2
    noisy: np.ndarray = np.clip(pixels + np.sqrt(variance) * rng.standard_normal(pixels.shape), 0, 1)
    return noisy
