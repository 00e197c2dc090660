"""Drawings made of brush strokes: oil, palette knife, points of color, cubist planes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .toolkit import (
    Array,
    Brush,
    Canvas,
    coordinates,
    draw_strokes,
    finish,
    flow,
    gradient,
    mix,
    noise,
    pick,
    relief,
    rgb,
    sample,
    scatter,
    smoothstep,
    vary,
)


def night_swirls(rng: Generator, size: int) -> Array:
    """Draw a night sky in thick oil that whirls around its stars: (size, size, 3)."""
    x, y = coordinates(size)
    lights = [
        (0.78, 0.2, 0.13),
        (0.17, 0.14, 0.07),
        (0.45, 0.1, 0.045),
        (0.09, 0.44, 0.05),
        (0.58, 0.3, 0.04),
        (0.93, 0.47, 0.055),
        (0.31, 0.27, 0.035),
    ]
    whirls = [(0.36, 0.46, 0.17, 3.0), (0.66, 0.52, 0.13, -2.6)]
    drift = 0.35 * np.sin(5 * x + 1) + 0.25 * noise(rng, size, 3, 2)
    angles = flow(x, y, drift, whirls + [(cx, cy, 1.5 * r, 4.0) for cx, cy, r in lights])

    tone = 0.42 + 0.13 * noise(rng, size, 5, 3, stretch=2)
    for cx, cy, radius, spin in whirls:
        distance, turn = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        arms = np.sin(2 * turn - np.sign(spin) * distance * 60)
        tone += 0.26 * arms * np.exp(-((distance / radius) ** 2))
    night = rgb("#0b1440", "#16307a", "#2456a8", "#4f8fc6", "#a5cfd3", "#e9eed0")
    target = gradient(night, tone - 0.12 * y)
    for cx, cy, radius in lights:
        distance = np.hypot(x - cx, y - cy) / radius
        halo = gradient(rgb("#fff6c8", "#ffdf5e", "#f7b32b", "#c9c26a", "#7fb5a8", "#3a6db0"), distance / 1.5)
        target = mix(target, halo, smoothstep(1.5, 0.9, distance + 0.12 * np.sin(distance * 16)))

    # Hills roll below the sky; strokes follow their ridges.
    for base, height, dark, light in (
        (0.72, 0.05, "#1a3a63", "#3f7a8c"),
        (0.8, 0.04, "#10294a", "#2f6a5c"),
        (0.88, 0.03, "#16301f", "#b59a34"),
    ):
        ridge = base + height * (np.sin(7 * x + 40 * base) + 0.5 * np.sin(13 * x + 9 * base))
        inside = smoothstep(-0.002, 0.002, y - ridge)
        bands = 0.5 + 0.5 * np.sin((y - ridge) * 130 + noise(rng, size, 6, 2))
        target = mix(target, gradient(rgb(dark, light), bands), inside)
        angles = np.where(inside > 0.5, np.gradient(ridge, axis=1) * size, angles).astype(np.float32)

    canvas = Canvas(mix(target, rgb("#0a1230")[0], 0.12))
    for brush, count in (
        (Brush(0.07, 0.02, 0.06), 2600),
        (Brush(0.06, 0.0125, 0.08, wander=0.12), 4200),
        (Brush(0.042, 0.0085, 0.08, wander=0.12), 3600),
    ):
        points = scatter(rng, count)
        draw_strokes(canvas, rng, brush, points, angles, vary(rng, sample(target, points), 0.055, 0.03))
    return finish(relief(canvas.color, canvas.height, 0.55, 0.12), 1.08)


def palette_knife(rng: Generator, size: int) -> Array:
    """Draw an autumn avenue after rain with a palette knife: slabs of unmixed warm and cold color, (size, size, 3)."""
    x, y = coordinates(size)
    horizon, middle = 0.6, 0.52
    leaves = gradient(
        rgb("#4a0d1f", "#a3161f", "#e0401b", "#f58a12", "#fcc62d", "#fff0a0"),
        0.52 + 0.2 * noise(rng, size, 7, 3) - 1.1 * np.abs(x - middle) * (y + 0.2) + 0.1,
    )
    glow = np.exp(-((np.hypot((x - middle) * 1.3, y - horizon + 0.1) / 0.22) ** 2))
    target = mix(leaves, rgb("#fff3bf")[0], np.clip(0.95 * glow, 0, 1))
    target = mix(
        target,
        gradient(rgb("#1b2a6b", "#2f7fb8", "#8fd0d6"), 0.5 + 0.3 * noise(rng, size, 6, 2)),
        smoothstep(1.0, 1.6, noise(rng, size, 5, 2)) * smoothstep(0.5, 0.2, y),
    )
    # The wet ground mirrors the leaves, in colder color.
    below = np.clip(2 * horizon - y, 0, 1)
    mirrored = sample(target, np.stack([x, below * 0.9 + 0.06], -1))
    cold = gradient(rgb("#141a4a", "#2c3f8f", "#5a5aa8", "#c98aa0"), 0.45 + 0.25 * noise(rng, size, 9, 3, stretch=3))
    wet = mix(cold, mirrored, np.clip(0.55 + 0.25 * noise(rng, size, 8, 2, stretch=0.4), 0, 1))
    ground = smoothstep(horizon - 0.01, horizon + 0.01, y)
    target = mix(target, wet, ground)

    angles = (0.9 * noise(rng, size, 6, 2) * (1 - ground) + 0.12 * noise(rng, size, 6, 1)).astype(np.float32)
    canvas = Canvas(target * 0.5)
    slab = Brush(0.055, 0.03, 0.035, body=1.6, ragged=0.3, wander=0.25)
    for brush, count in ((slab, 2200), (Brush(0.042, 0.022, 0.04, body=1.7, ragged=0.3, wander=0.4), 2600)):
        points = scatter(rng, count)
        draw_strokes(canvas, rng, brush, points, angles, vary(rng, sample(target, points), 0.07, 0.055))
    # Tree stems in one pull of the knife, and their broken reflections.
    upright = np.full((size, size), np.pi / 2, np.float32)
    for side in (-1, 1):
        for depth in (0.15, 0.24, 0.36, 0.47):
            foot = middle + side * (depth + rng.normal(0, 0.01))
            stem = np.stack(
                [foot + rng.normal(0, 0.004, 26) + side * 0.01, np.linspace(0, horizon + depth * 0.3, 26)], 1
            )
            colors = vary(rng, pick(rng, rgb("#1a0f1e", "#3a1a2a", "#20284f"), 26), 0.03, 0.02)
            draw_strokes(
                canvas,
                rng,
                Brush(0.06, 0.006 + depth * 0.045, 0.1, body=1.5, wander=0.05),
                stem.astype(np.float32),
                upright,
                colors,
            )
    points = scatter(rng, 1500)
    points = points[(rng.random(len(points)) < 0.75) | (points[:, 1] > horizon)]
    accents = vary(rng, sample(target, points), 0.1, 0.07)
    draw_strokes(canvas, rng, Brush(0.026, 0.015, 0.05, body=1.8, wander=0.5), points, angles, accents)
    return finish(relief(canvas.color, canvas.height, 0.5, 0.1), 1.1)


def pointillist_river(rng: Generator, size: int) -> Array:
    """Draw a summer river in points of pure color, each beside its complement: (size, size, 3)."""
    x, y = coordinates(size)
    target = gradient(rgb("#7fb6e8", "#b9dcf0", "#fbe6c0", "#ffc9a0"), y / 0.42)
    for base, height, dark, light, grain in (
        (0.36, 0.05, "#5d6fb8", "#a9b8dc", 5),
        (0.42, 0.07, "#245a58", "#7fb069", 9),
    ):
        top = base - height * (0.6 + noise(rng, size, grain, 3)[0][None, :] * 0.5)
        shade = gradient(rgb(dark, light), 0.5 + 0.28 * noise(rng, size, 14, 3))
        target = mix(target, shade, smoothstep(0, 0.012, y - top))
    bank = 0.55 + 0.03 * np.sin(6 * x) + 0.2 * np.clip(0.55 - x, 0, 1)
    river = smoothstep(0, 0.01, y - 0.5)
    ripples = 0.5 + 0.25 * noise(rng, size, 18, 3, stretch=5)
    target = mix(target, gradient(rgb("#24508f", "#3f8fc0", "#9fd8dc", "#fff0c8"), ripples), river)
    meadow = smoothstep(0, 0.015, y - bank - 0.12 * (x + 0.25) * smoothstep(0.2, 0.9, x) - 0.04)
    grass = gradient(rgb("#2f6b2f", "#6fae3a", "#c8d648", "#f6e85e"), 0.5 + 0.24 * noise(rng, size, 10, 3, stretch=2))
    target = mix(target, grass, meadow)
    for cx, cy, radius in ((0.16, 0.3, 0.17), (0.85, 0.36, 0.12), (0.34, 0.42, 0.08)):
        lumps = np.hypot(x - cx, (y - cy) * 0.9) / radius + 0.16 * noise(rng, size, 12, 3)
        sunlight = 0.55 + (cx - x + cy - y) / radius * 0.35 + 0.16 * noise(rng, size, 22, 2)
        crown = gradient(rgb("#1d2a5e", "#1f5a4c", "#4f9a3a", "#d2d84a"), sunlight)
        target = mix(target, crown, smoothstep(1.02, 0.95, lumps))
        stem = smoothstep(0.012, 0.008, np.abs(x - cx)) * smoothstep(cy, cy + 0.02, y)
        target = mix(target, rgb("#4a2a52")[0], stem * smoothstep(cy + radius * 1.9, cy + radius * 1.8, y))

    canvas = Canvas(mix(target, rgb("#f3e3c2")[0], 0.55))
    angles = np.zeros((size, size), np.float32)
    complements = rgb("#ff7a2e", "#f2559a", "#7a4fd0", "#2fb0d8", "#ffd93b")
    for width, count, stray in ((0.0155, 8500, 0.1), (0.0115, 12000, 0.16), (0.0085, 9000, 0.22)):
        points = scatter(rng, count)
        colors = vary(rng, sample(target, points), 0.07, 0.06)
        guests = rng.random(len(points)) < stray
        colors[guests] = 0.45 * colors[guests] + 0.55 * pick(rng, complements, int(guests.sum()))
        flowers = (rng.random(len(points)) < 0.1) & (sample(meadow, points) > 0.5)
        colors[flowers] = pick(rng, rgb("#e8262f", "#f25c8a", "#fff3e0"), int(flowers.sum()))
        dab = Brush(width * 1.15, width, 0.03, body=0.9, ragged=0.0, pointed=0.85, spread=0.25)
        draw_strokes(canvas, rng, dab, points, angles, colors)
    return finish(relief(canvas.color, canvas.height, 0.3), 1.1)


def cubist_planes(rng: Generator, size: int) -> Array:
    """Draw a still life in cubist planes: ochre, umber and slate, shaded from their edges, (size, size, 3)."""
    x, y = coordinates(size)
    plane = np.zeros((size, size), np.int32)
    edge = np.full((size, size), 1.0, np.float32)
    shade = np.zeros((size, size), np.float32)
    angles = np.full((size, size), 0.8, np.float32)
    slants = np.array([0.12, 0.95, 1.75, 2.4])
    for cut in range(1, 120):
        # Cut the plane under a random point, by a line at a preferred slant or by the arc of a glass.
        cx, cy = 0.5 + rng.normal(0, 0.3), 0.5 + rng.normal(0, 0.3)
        here = plane == sample(plane.astype(np.float32), np.array([[cx, cy]]))[0]
        roundness, slant = rng.random(), rng.choice(slants) + rng.normal(0, 0.07)
        if here.sum() < 0.004 * size * size:
            continue
        if roundness < 0.24:
            radius = rng.uniform(0.06, 0.2)
            side = np.hypot(x - cx - radius, y - cy) - radius
            heading = np.arctan2(y - cy, x - cx - radius) + np.pi / 2
        else:
            side = (y - cy) * np.cos(slant) - (x - cx) * np.sin(slant)
            heading = np.full_like(x, slant)
        dark = -1.0 if rng.random() < 0.5 else 1.0
        shade = np.where(here, 0.35 * shade + dark * np.sign(side) * np.exp(-np.abs(side) / 0.075), shade)
        edge = np.where(here, np.minimum(edge, np.abs(side)), edge)
        angles = np.where(here & (side > 0), heading, angles)
        plane[here & (side > 0)] = cut

    tones = vary(
        rng,
        pick(rng, rgb("#b98d4f", "#8f6a38", "#c48a45", "#7d8378", "#4f6070", "#c9b183", "#a06a3a", "#34404c"), 120),
        0.05,
        0.015,
    )
    center = np.exp(-((np.hypot(x - 0.5, y - 0.48) / 0.5) ** 2))
    target = tones[plane] * (0.72 + 0.35 * center)[..., None] + 0.25 * shade[..., None] * rgb("#f2dfb4")[0]
    lines = smoothstep(0.0045, 0.002, edge) * smoothstep(-0.9, 0.3, noise(rng, size, 7, 2))
    target = np.clip(mix(target, rgb("#17130f")[0], 0.9 * lines), 0.03, 1)

    canvas = Canvas(target)
    angles = angles.astype(np.float32)
    for brush, count in (
        (Brush(0.04, 0.014, 0.08, body=0.8, wander=0.08), 3600),
        (Brush(0.022, 0.009, 0.07, body=0.9, ragged=0.15, wander=0.08), 7500),
    ):
        points = scatter(rng, count)
        draw_strokes(canvas, rng, brush, points, angles, vary(rng, sample(target, points), 0.035, 0.012))
    image = mix(canvas.color, rgb("#120e0b")[0], 0.8 * lines)
    weave = noise(rng, size, 200, 1, stretch=2) + noise(rng, size, 200, 1, stretch=0.5)
    return finish(relief(image, canvas.height + 0.15 * weave, 0.4), 1.15)
