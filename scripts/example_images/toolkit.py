"""What all drawings share: coordinates, noise, palettes, paper and brush strokes.

Images are float32 arrays (size, size, 3) in [0, 1]. Positions and lengths are fractions of the image's width, so a
drawing is much the same at every size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]

# Pixels between two samples of a brush: below 1/sqrt(2), a rotated stroke has no holes.
SAMPLE_STEP = 0.7
# Samples drawn in one go, which bounds the memory that a layer of strokes takes.
CHUNK = 2_000_000


def coordinates(size: int) -> tuple[Array, Array]:
    """Return x (to the right) and y (downwards) of every pixel center, in [0, 1]: (size, size) each."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(line, line)
    return x, y


def rgb(*hexes: str) -> Array:
    """Return colors such as "#1d3557" as rows of an (n, 3) array.

    >>> rgb("#ff0000", "#0000ff").shape
    (2, 3)
    """
    return np.array([[int(h[i : i + 2], 16) for i in (1, 3, 5)] for h in hexes], np.float32) / 255


def gradient(palette: Array, t: Array) -> Array:
    """Return the colors at t in [0, 1] along a palette (n, 3) of evenly spaced colors: (..., 3)."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(t, stops, palette[:, c]) for c in range(3)], -1).astype(np.float32)


def mix(a: Array, b: Array, t: Array | float) -> Array:
    """Return a where t is 0, b where t is 1; a mask t of two dimensions is spread over the color channels."""
    if isinstance(t, np.ndarray) and t.ndim == 2:
        t = t[..., None]
    return (a + (b - a) * t).astype(np.float32)


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Return a soft step: 0 below low, 1 above high (falling if low > high)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def resize(array: Array, size: int) -> Array:
    """Return a two-dimensional array, smoothly resized to (size, size)."""
    resized = Image.fromarray(np.ascontiguousarray(array, np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def noise(rng: Generator, size: int, cells: float, octaves: int = 4, stretch: float = 1.0) -> Array:
    """Return fractal noise of mean 0 and deviation 1: (size, size).

    Its largest blobs are 1/cells of the image high, and stretch times as wide as they are high. Octaves
    finer than a pixel still draw their random numbers, so one seed gives one composition at all sizes.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave / stretch)) + 3
        down = max(2, round(cells * 2**octave)) + 3
        coarse = rng.standard_normal((down, across)).astype(np.float32)
        total += resize(coarse, size) * 0.5**octave
    return (total - total.mean()) / total.std()


def blur(image: Array, radius: float) -> Array:
    """Blur three times with a box, close to a Gaussian; radius is in widths of the image."""
    reach = max(1, round(radius * len(image)))
    for axis in (0, 1):
        for _ in range(3):
            pad = [(0, 0)] * image.ndim
            pad[axis] = (reach + 1, reach)
            sums = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float64)
            high = np.take(sums, range(2 * reach + 1, sums.shape[axis]), axis)
            low = np.take(sums, range(0, sums.shape[axis] - 2 * reach - 1), axis)
            image = ((high - low) / (2 * reach + 1)).astype(np.float32)
    return image


def relief(image: Array, height: Array, strength: float = 0.5, gloss: float = 0.0) -> Array:
    """Light an image from the upper left as if it had this height (in thousandths of its width)."""
    per_pixel = len(height) / 1000
    down, right = np.gradient(height * per_pixel)
    slope = (right + down) / np.sqrt(2 + right**2 + down**2)
    lit = image * (1 + strength * slope[..., None])
    return (lit + gloss * np.clip(slope - 0.25, 0, 1)[..., None]).astype(np.float32)


def paper(rng: Generator, size: int, tone: Array, roughness: float = 0.03) -> tuple[Array, Array]:
    """Return paper of this tone, (size, size, 3), and its tooth, in which pigment settles, (size, size)."""
    tooth = noise(rng, size, 180, 2) + 0.6 * noise(rng, size, 380, 1)
    tooth /= tooth.std()
    fibres = noise(rng, size, 160, 2, stretch=12) + noise(rng, size, 60, 2)
    background = tone + roughness * (tooth * 0.7 + fibres * 0.3)[..., None] * np.array([1, 1, 1.15], np.float32)
    return background.astype(np.float32), tooth


def pick(rng: Generator, palette: Array, count: int, weights: list[float] | None = None) -> Array:
    """Draw colors from the palette: (count, 3)."""
    chance = None if weights is None else np.array(weights) / np.sum(weights)
    return palette[rng.choice(len(palette), count, p=chance)]


def scatter(rng: Generator, count: int, margin: float = 0.04) -> Array:
    """Draw about this many points, one per cell of a jittered grid (so without gaps), in random order: (n, 2)."""
    side = max(2, round(count**0.5))
    cell = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    points = (cell + rng.random(cell.shape)) / side * (1 + 2 * margin) - margin
    return rng.permutation(points).astype(np.float32)


def sample(image: Array, points: Array) -> Array:
    """Return the image's values at points (n, 2) of x and y; points outside take the nearest edge."""
    size = len(image)
    at = np.clip((points * size).astype(int), 0, size - 1)
    return image[at[..., 1], at[..., 0]]


def vary(rng: Generator, colors: Array, light: float, hue: float) -> Array:
    """Make each color lighter or darker and shift its hue, at random."""
    shift = rng.normal(0, light, (len(colors), 1)) + rng.normal(0, hue, (len(colors), 3))
    return np.clip(colors + shift, 0, 1).astype(np.float32)


@dataclass
class Canvas:
    """The strokes so far: their color, and how thick the pigment is (in thousandths of the width)."""

    color: Array
    height: Array = field(init=False)

    def __post_init__(self) -> None:
        self.color = self.color.astype(np.float32).copy()
        self.height = np.zeros(self.color.shape[:2], np.float32)

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        return len(self.color)


@dataclass(frozen=True)
class Brush:
    """A brush: the size of its strokes (in widths of the image) and their texture."""

    length: float
    width: float
    bristles: float = 0.05  # how much single bristles differ in lightness
    body: float = 1.0  # how thick the pigment is
    ragged: float = 0.25  # how uneven the ends of strokes are
    pointed: float = 0.0  # 0: blunt ends, 1: a lens that tapers to points
    spread: float = 0.3  # how much strokes differ in length and width
    wander: float = 0.15  # how far (in radians) a stroke leaves the direction of the field


def draw_strokes(
    canvas: Canvas,
    rng: Generator,
    brush: Brush,
    points: Array,
    angles: Array,
    colors: Array,
    widths: Array | None = None,
    tooth: Array | None = None,
) -> None:
    """Draw one curved stroke at each point, along the field of angles, later strokes over earlier ones.

    Every stroke is a small grid of samples, along its path and across its bristles; all of them are written
    at once, which needs no loop over strokes. `widths` scales single strokes; on paper with `tooth` (chalk),
    a stroke only catches on one side of the tooth, and lets the rest of the paper show.
    """
    size = canvas.size
    along = max(3, int(brush.length * (1 + brush.spread) * size / SAMPLE_STEP))
    across = max(3, int(brush.width * (1 + brush.spread) * size / SAMPLE_STEP))
    per_chunk = max(1, CHUNK // (along * across))
    for first in range(0, len(points), per_chunk):
        some = slice(first, first + per_chunk)
        part = points[some]
        scale = 1 + brush.spread * rng.uniform(-1, 1, (2, len(part), 1)).astype(np.float32)
        if widths is not None:
            scale[1] *= widths[some, None]
        center, heading = stroke_paths(part, angles, brush, scale[0], along, rng)
        u = np.linspace(0, 1, along, dtype=np.float32)[None, :, None]
        v = np.linspace(-1, 1, across, dtype=np.float32)[None, None, :]
        offset = v * (brush.width / 2 * scale[1])[..., None]
        x = center[..., 0:1] - np.sin(heading)[..., None] * offset
        y = center[..., 1:2] + np.cos(heading)[..., None] * offset
        column, row = (x * size).astype(np.int32), (y * size).astype(np.int32)

        # Hairs: each bristle has its own amount of pigment, in coarse and fine clumps.
        hairs = rng.standard_normal((len(part), 1, across)).astype(np.float32)
        hairs = 0.6 * hairs + 0.6 * (np.roll(hairs, 1, -1) + np.roll(hairs, 2, -1))
        begin, end = brush.ragged * 0.25 * rng.random((2, len(part), 1, across)).astype(np.float32)
        shape = 1 - brush.pointed * (2 * u - 1) ** 2 - (1 - brush.pointed) * np.abs(2 * u - 1) ** 8
        keep = (u >= begin) & (u <= 1 - end) & (np.abs(v) <= np.sqrt(np.clip(shape, 0, 1)))
        keep &= (column >= 0) & (column < size) & (row >= 0) & (row < size)
        if tooth is not None:
            pressure = 0.45 - 1.1 * v**2 - 0.5 * u + 0.25 * hairs
            keep &= tooth[np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)] < pressure + 0.6

        index = (row * size + column)[keep]
        tint = np.broadcast_to(brush.bristles * hairs, keep.shape)[keep]
        color = np.broadcast_to(colors[some, None, None, :], (*keep.shape, 3))[keep]
        canvas.color.reshape(-1, 3)[index] = color * (1 + tint[:, None])
        # Pigment is pushed to the rims of a stroke and piles up where the brush stops.
        body = brush.body * (0.7 + 0.5 * v**2 - 1.2 * v**8 + 5 * brush.bristles * hairs + 0.5 * u**6)
        flat = canvas.height.reshape(-1)
        flat[index] = 0.35 * flat[index] + np.broadcast_to(body, keep.shape)[keep]


def stroke_paths(
    points: Array, angles: Array, brush: Brush, scale: Array, samples: int, rng: Generator
) -> tuple[Array, Array]:
    """Follow the field from each point, half a stroke in both directions: positions (n, samples, 2) and headings."""
    knots = 9
    step = brush.length * scale / (knots - 1)
    lean = rng.normal(0, brush.wander, (len(points), 1)).astype(np.float32)
    position = points.copy()
    for _ in range(knots // 2):
        turn = sample(angles, position)[:, None] + lean
        position = position - step * np.concatenate([np.cos(turn), np.sin(turn)], 1)
    path, turns = [], []
    for _ in range(knots):
        turn = sample(angles, position)[:, None] + lean
        path.append(position)
        turns.append(np.concatenate([np.cos(turn), np.sin(turn)], 1))
        position = position + step * turns[-1]
    at = np.linspace(0, knots - 1.001, samples)
    low, part = at.astype(int), (at % 1).astype(np.float32)[None, :, None]
    nodes, ways = np.stack(path, 1), np.stack(turns, 1)
    center = nodes[:, low] * (1 - part) + nodes[:, low + 1] * part
    way = ways[:, low] * (1 - part) + ways[:, low + 1] * part
    return center.astype(np.float32), np.arctan2(way[..., 1], way[..., 0])


def flow(x: Array, y: Array, drift: Array, vortices: list[tuple[float, float, float, float]]) -> Array:
    """Return the angles of a current that drifts and circles around vortices (x, y, radius, spin)."""
    along, down = np.cos(drift), np.sin(drift)
    for cx, cy, radius, spin in vortices:
        dx, dy = x - cx, y - cy
        distance = np.hypot(dx, dy) + 1e-3
        pull = spin * np.exp(-((distance / radius) ** 2))
        along, down = along - pull * dy / distance, down + pull * dx / distance
    return np.arctan2(down, along).astype(np.float32)


def finish(image: Array, contrast: float = 1.0) -> Array:
    """Clip an image to [0, 1], after a change of contrast about its mean."""
    return np.clip((image - image.mean()) * contrast + image.mean(), 0, 1).astype(np.float32)
