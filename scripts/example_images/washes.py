"""Drawings on paper: ink wash, watercolor, chalk pastel."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .toolkit import (
    Array,
    Brush,
    Canvas,
    blur,
    coordinates,
    draw_strokes,
    finish,
    gradient,
    mix,
    noise,
    paper,
    pick,
    rgb,
    sample,
    scatter,
    smoothstep,
    vary,
)

Box = tuple[slice, slice]


def ink_mountains(rng: Generator, size: int) -> Array:
    """Draw mountains in ink wash with dry side strokes, tinted blue and green: (size, size, 3)."""
    x, y = coordinates(size)
    background, tooth = paper(rng, size, rgb("#f3ead6")[0], 0.028)
    cloud = noise(rng, size, 4, 4, stretch=2.2)
    density = 0.1 + 0.09 * np.clip(cloud, -1, 2) * smoothstep(0.6, 0.0, y)
    covered = np.zeros((size, size), np.float32)
    tint = np.zeros((size, size, 3), np.float32)
    minerals = -np.log(rgb("#5f8fb0", "#4f8a9a", "#5a9a86", "#3f7f8a", "#3a6a5f"))
    canvas = Canvas(np.zeros((size, size, 3)))
    ranges = (
        (0.26, 0.15, 3, 0.3),
        (0.38, 0.17, 4, 0.46),
        (0.53, 0.15, 4, 0.66),
        (0.7, 0.14, 5, 0.9),
        (0.88, 0.1, 6, 1.2),
    )
    for number, (base, height, cells, ink) in enumerate(ranges):
        line = noise(rng, size, cells, 6)[size // 2]
        ridge = base - height * (0.55 * np.abs(line) + 0.35 * line)[None, :]
        depth = y - ridge
        inside = smoothstep(-0.0015, 0.0015, depth + 0.0016 * noise(rng, size, 120, 1))
        # The wash is loaded at the ridge, and thins out downwards into mist.
        wash = 0.13 + 0.87 * np.exp(-np.clip(depth, 0, 1) / (0.06 + 0.014 * number))
        wash = wash * (1 + 0.2 * noise(rng, size, 9, 4)) + 0.45 * np.exp(-np.abs(depth) / 0.0035)
        density = density * (1 - inside) + inside * (0.03 + 0.62 * ink * np.clip(wash, 0.03, 1.4))
        spread = 0.75 * np.exp(-np.clip(depth - 0.02, 0, 1) / 0.09) * np.clip(0.8 + 0.35 * noise(rng, size, 4, 3), 0, 2)
        covered = np.maximum(covered, inside)
        tint = mix(tint, spread[..., None] * minerals[number], inside)
        slope = np.gradient(blur(np.repeat(ridge, 3, 0), 0.05), axis=1)[1] * size
        fall = np.broadcast_to(np.pi / 2 - 0.75 * np.sign(slope), (size, size)) + 0.25 * noise(rng, size, 8, 2)
        canvas.color *= (1 - inside)[..., None]
        points = scatter(rng, 2600)
        low = sample(depth.astype(np.float32), points)
        chance = np.exp(-low / (0.045 + 0.012 * number)) * (low > 0.004)
        points = points[rng.random(len(points)) < chance]
        tones = np.repeat(rng.uniform(0.25, 1, (len(points), 1)) * (0.25 + 0.55 * ink), 3, 1).astype(np.float32)
        side_stroke = Brush(0.045, 0.011, 0.25, ragged=0.7, pointed=0.55, spread=0.5, wander=0.2)
        draw_strokes(canvas, rng, side_stroke, points, fall.astype(np.float32), tones, tooth=tooth)
        canvas.color *= smoothstep(-0.003, 0.001, depth)[..., None] * inside[..., None] + (1 - inside)[..., None]
        # Trees on the nearer ridges: a stem, and level pads of dots.
        for _ in range(14 * max(0, number - 1)):
            foot = rng.random()
            top = float(ridge[0, int(foot * size)])
            tall = rng.uniform(0.02, 0.034) * (0.6 + 0.25 * number)
            levels = np.arange(9) / 8
            places = np.stack([foot + rng.normal(0, tall * 0.23, 9) * (0.35 + levels), top - tall * (1 - levels)], 1)
            pads = Brush(tall * 0.55, tall * 0.2, 0.2, ragged=0.6, pointed=0.6, spread=0.5)
            flat = (0.15 * noise(rng, 8, 3, 1)).astype(np.float32)
            leaf = np.full((9, 3), 0.45 + 0.32 * ink, np.float32)
            draw_strokes(canvas, rng, pads, places.astype(np.float32), flat, leaf)
            stem = np.array([[foot, top - tall * 0.45]], np.float32)
            draw_strokes(
                canvas,
                rng,
                Brush(tall, tall * 0.08, wander=0.1),
                stem,
                np.full((8, 8), np.pi / 2, np.float32),
                leaf[:1],
            )
    density = density + 0.9 * canvas.color[..., 0] * (1 + 0.12 * tooth)
    density = np.clip(density * (1 + 0.1 * tooth) + 0.015 * tooth, 0, 2.4)
    ink_color = -np.log(rgb("#3a3733")[0])
    image = background * np.exp(-density[..., None] * ink_color * 1.2 - tint * (1 + 0.12 * tooth)[..., None])
    sun = smoothstep(0.078, 0.074, np.hypot(x - 0.74, y - 0.13) + 0.0015 * noise(rng, size, 30, 2))
    red = background * rgb("#d9583f")[0] * (1 + 0.07 * noise(rng, size, 12, 3) + 0.04 * tooth)[..., None]
    return finish(mix(image, red, 0.9 * sun * (1 - covered)), 1.08)


def watercolor_garden(rng: Generator, size: int) -> Array:
    """Draw a watercolor, wet in wet: petals with dark rims, back-runs, granulating pigment: (size, size, 3)."""
    x, y = coordinates(size)
    background, tooth = paper(rng, size, rgb("#fbf7ee")[0], 0.02)
    light = np.zeros((size, size, 3), np.float32)  # how much of each color the pigments absorb
    bend_x, bend_y = 0.012 * noise(rng, size, 6, 3), 0.012 * noise(rng, size, 6, 3)
    fine = noise(rng, size, 40, 3)

    def wash(box: Box, inside: Array, color: Array, strength: float, granules: float) -> None:
        """Draw a wash whose pigment gathers at the rim; inside is a distance, positive within the shape."""
        body = smoothstep(-0.0012, 0.0016, inside + 0.0012 * fine[box])
        rim = np.exp(-np.clip(inside, 0, 1) / 0.0045)
        pools = 1 + 0.32 * flows[rng.integers(len(flows))][box] + granules * tooth[box]
        amount = body * np.clip(0.62 * pools + 0.65 * rim, 0.08, 2) * strength
        light[box] += amount[..., None] * -np.log(np.clip(color, 0.02, 0.98))

    def near(at: Array, reach: float) -> tuple[Box, Array, Array]:
        """Return the box of pixels within reach of a point, and their (wavering) distances to it in x and y."""
        low = np.clip(((at - reach - 0.05) * size).astype(int), 0, size)
        high = np.clip(((at + reach + 0.05) * size).astype(int) + 1, 0, size)
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        return box, x[box] - at[0] + bend_x[box], y[box] - at[1] + bend_y[box]

    flows = [noise(rng, size, 5, 5) for _ in range(4)]
    everywhere = (slice(None), slice(None))
    for color in rgb("#8fd0d8", "#b9dca0", "#f6dc8a", "#bfaede", "#7fb6e0", "#f3b8b8"):
        wash(everywhere, 0.04 * (noise(rng, size, 3, 4) - 0.15), color, 0.85, 0.1)
    leaves = rgb("#2f7d4f", "#6a9a2e", "#1f6f78", "#4a5f9a")
    for at in scatter(rng, 36):
        long, wide, lean = rng.uniform(0.06, 0.13), rng.uniform(0.016, 0.03), rng.uniform(0, np.pi)
        box, dx, dy = near(at, long)
        along, across = dx * np.cos(lean) + dy * np.sin(lean), dy * np.cos(lean) - dx * np.sin(lean)
        blade = wide * (1 - (along / long) ** 2) - np.abs(across)
        vein = 0.5 * wide * np.exp(-((across / 0.0025) ** 2)) * (np.abs(along) < long)
        wash(box, np.where(np.abs(along) < long, blade - vein, -1), pick(rng, leaves, 1)[0], 0.8, 0.12)
    blooms = rgb("#e0316a", "#f2603a", "#8a3fb0", "#f5a623", "#3560c8", "#ee7fae", "#c21f3a")
    for at in scatter(rng, 20, margin=0.0):
        petals, radius, color = int(rng.integers(5, 8)), rng.uniform(0.075, 0.14), pick(rng, blooms, 1)[0]
        start = rng.uniform(0, 6)
        box, dx, dy = near(at, 1.1 * radius)
        for petal in range(petals):
            turn = start + 2 * np.pi * petal / petals + rng.normal(0, 0.1)
            along = dx * np.cos(turn) + dy * np.sin(turn) - radius * 0.56
            across = dy * np.cos(turn) - dx * np.sin(turn)
            half = radius * rng.uniform(0.42, 0.52)
            oval = half - np.hypot(along, across * rng.uniform(1.2, 1.5)) * (1 + 0.06 * np.sin(9 * across / half))
            wash(box, oval, vary(rng, color[None], 0.03, 0.05)[0], 0.6, 0.14)
        wash(box, radius * 0.17 - np.hypot(dx, dy), rgb("#5a3a1e")[0], 1.1, 0.2)
    # Drops of clear water push the pigment outwards; a loaded brush was flicked over the paper.
    for at in scatter(rng, 40):
        box, dx, dy = near(at, 0.06)
        ring = np.hypot(dx, dy) / rng.uniform(0.012, 0.04) + 0.12 * fine[box]
        light[box] *= (1 - 0.45 * smoothstep(1, 0.5, ring) + 0.4 * np.exp(-(((ring - 1) / 0.1) ** 2)))[..., None]
    for at in scatter(rng, 160):
        box, dx, dy = near(at, 0.01)
        wash(box, rng.uniform(0.0015, 0.006) - np.hypot(dx, dy), pick(rng, blooms, 1)[0], 0.8, 0.1)
    return finish(background * np.exp(-0.8 * light), 1.05)


def pastel_dunes(rng: Generator, size: int) -> Array:
    """Draw desert dunes in chalk pastel, in broken strokes on dark paper: (size, size, 3)."""
    x, y = coordinates(size)
    background, tooth = paper(rng, size, rgb("#2a1f3a")[0], 0.02)
    glow = np.hypot(x - 0.34, (y - 0.42) * 1.5)
    target = gradient(rgb("#fff0b0", "#ffb85c", "#fb7a5c", "#d84a86", "#7a4aa8", "#3a4a9a", "#2a6a9a"), glow / 0.85)
    streaks = noise(rng, size, 9, 3, stretch=5)
    target = mix(target, gradient(rgb("#ff9a7a", "#f7c6d0"), 1 - y), 0.75 * smoothstep(0.5, 1.4, streaks))
    angles = (0.14 * noise(rng, size, 4, 2) + 0.35 * (x - 0.5)).astype(np.float32)
    for number, (base, height) in enumerate(((0.44, 0.035), (0.53, 0.06), (0.64, 0.075), (0.79, 0.085), (0.93, 0.07))):
        turn = (4.6 - 0.4 * number) * x + 2.3 * number
        ridge = base - height * (np.abs(np.sin(turn)) ** 1.5 - 0.4 + 0.2 * np.sin(2.3 * turn))
        depth = y - ridge
        slope = np.gradient(ridge, axis=1) * size
        lit = smoothstep(-0.25, 0.3, slope + 0.18 * np.sin(depth * 70 + 5 * x))
        shadow = gradient(rgb("#5a3f98", "#2a2f78", "#1c6a88", "#2a1a50"), depth / 0.24)
        sand = gradient(rgb("#ffd27a", "#ff8a4a", "#e8486a", "#7a2f88"), depth / 0.3 + 0.06 * number)
        inside = smoothstep(-0.002, 0.002, depth)
        target = mix(target, mix(shadow, sand, lit), inside)
        lie = np.arctan(slope) + np.clip(depth * 5, 0, 1) * np.where(lit > 0.5, 0.7, -0.6)
        angles = np.where(inside > 0.5, lie, angles).astype(np.float32)
    canvas = Canvas(mix(background, target, 0.4))
    for stick, count in (
        (Brush(0.075, 0.017, 0.08, wander=0.12, ragged=0.6), 3000),
        (Brush(0.055, 0.011, 0.08, wander=0.2, ragged=0.6), 4200),
        (Brush(0.04, 0.007, 0.1, wander=0.3, ragged=0.6), 2600),
    ):
        points = scatter(rng, count)
        colors = vary(rng, sample(target, points), 0.05, 0.05)
        draw_strokes(canvas, rng, stick, points, angles, colors, tooth=tooth)
    dust = mix(canvas.color, blur(canvas.color, 0.006), 0.18)
    return finish(dust * (1 + 0.05 * tooth)[..., None], 1.15)
