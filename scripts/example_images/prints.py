"""Drawings of prints and paper: woodblock, linocut, cut paper, marbled paper."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

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
    rgb,
    sample,
    scatter,
    smoothstep,
)


def woodblock_waves(rng: Generator, size: int) -> Array:
    """Draw a color woodcut of the sea: flat blues, scallops of foam, the grain of wood: (size, size, 3)."""
    x, y = coordinates(size)
    background, tooth = paper(rng, size, rgb("#f1e4c6")[0], 0.02)
    grain = noise(rng, size, 110, 2, stretch=40) + 0.5 * noise(rng, size, 30, 2, stretch=25)
    sky = gradient(rgb("#e7a77c", "#f3d3a4", "#f4e6c6", "#cfdccb", "#9fc3c4"), np.clip(y / 0.55, 0, 1))
    sun = smoothstep(0.132, 0.129, np.hypot(x - 0.68, y - 0.24))
    image = mix(sky, mix(rgb("#c8321f")[0], rgb("#e4683a")[0], np.clip((y - 0.1) / 0.28, 0, 1)), sun)
    # Bands of cloud cross the sky and the sun.
    for cx, cy, half in (
        (0.2, 0.1, 0.19),
        (0.37, 0.15, 0.2),
        (0.84, 0.19, 0.16),
        (0.62, 0.29, 0.2),
        (0.16, 0.25, 0.17),
    ):
        cloud = np.hypot(np.maximum(np.abs(x - cx) - half, 0), y - cy) / 0.021
        image = mix(image, rgb("#2a4f7a")[0], smoothstep(1.12, 1.0, cloud))
        image = mix(image, gradient(rgb("#fbf1d8", "#a9cbcb"), (y - cy) / 0.04 + 0.5), smoothstep(0.9, 0.8, cloud))

    blues = rgb("#0f2a52", "#1d4a7e", "#3f7fa8", "#8fbcc4", "#efe8d0")
    for base, height, length, phase in ((0.43, 0.06, 2.6, 0.6), (0.53, 0.11, 1.55, 0.25), (0.68, 0.09, 1.9, 0.62)):
        # A trochoid: flat troughs and peaked crests, which lean to the right.
        turn = 2 * np.pi * (length * x + phase)
        turn = turn + 0.55 * np.sin(turn)
        crest = base - height * (1.4 * np.exp(-1.6 * (1 - np.cos(turn - 0.4))) - 0.3)
        depth = y - crest
        inside = smoothstep(-0.001, 0.001, depth)
        # Stripes follow the crest, and narrow towards it.
        stripe = np.sqrt(np.clip(depth, 0, 1)) * 34 + 1.2 * np.sin(turn * 0.5) + 0.8 * np.sin(9 * x)
        which = np.floor(stripe).astype(int)
        flat = blues[np.array([1, 2, 0, 3, 1, 0, 2, 1, 4])[which % 9]]
        between = stripe % 1
        flat = mix(flat, blues[0], smoothstep(0.86, 0.9, between))
        image = mix(image, flat, inside)
        # Foam: scallops ride on the crest, each with its dark outline, thick where the wave stands high.
        along = np.linspace(-0.02, 1.02, 300)
        bead = np.interp(along, x[0], crest[0])
        high = np.clip((base - bead) / height, 0, 1.2)
        for at in rng.permutation(len(along)):
            radius = 0.007 + 0.016 * high[at] * rng.random()
            cx = along[at] + rng.normal(0, 0.004)
            cy = bead[at] + rng.uniform(-0.012, 0.03) * high[at] + 0.004
            stamp(image, cx, cy, radius, blues[0], blues[4])
        for _ in range(130):
            at = rng.choice(len(along), p=high**2 / np.sum(high**2))
            cx, cy = along[at] + rng.normal(0, 0.03), bead[at] - abs(rng.normal(0, 0.035)) - 0.012
            stamp(image, cx, cy, rng.uniform(0.002, 0.006), blues[1], blues[4])
    # In front the sea becomes seigaiha, the pattern of overlapping fans, larger in every row.
    top, row, radius = 0.765, 0, 0.045
    while top < 1.12:
        swell = top + 0.012 * np.sin(2 * np.pi * (1.4 * x + 0.17 * row))
        shifted = ((x - 0.5) / (2 * radius) + 0.5 * (row % 2)) % 1 - 0.5
        fan = np.hypot(shifted * 2 * radius, y - swell) / radius
        rings = np.array([4, 1, 4, 0, 3, 0, 2, 4, 0])[np.clip((fan * 8).astype(int), 0, 8)]
        flat = mix(blues[rings], blues[0], smoothstep(0.38, 0.46, np.abs((fan * 8) % 1 - 0.5)))
        image = mix(image, flat, smoothstep(1.0, 0.985, fan))
        top, row, radius = top + radius * 0.5, row + 1, radius * 1.07
    ink = np.clip(0.93 + 0.035 * grain + 0.02 * tooth, 0.5, 1)
    return finish(mix(background, image, ink) * (1 - 0.025 * np.clip(grain, -1, 2))[..., None], 1.05)


def stamp(image: Array, cx: float, cy: float, radius: float, line: Array, fill: Array) -> None:
    """Draw a filled circle with an outline into the image, in place."""
    size = len(image)
    reach = radius + 2 / size + 0.003
    rows = slice(max(0, int((cy - reach) * size)), max(0, int((cy + reach) * size) + 1))
    columns = slice(max(0, int((cx - reach) * size)), max(0, int((cx + reach) * size) + 1))
    part = image[rows, columns]
    if not part.size:
        return
    v = (np.arange(part.shape[0]) + rows.start + 0.5) / size - cy
    u = (np.arange(part.shape[1]) + columns.start + 0.5) / size - cx
    distance = np.hypot(u[None], v[:, None]).astype(np.float32)
    soft = 1 / size
    part[:] = mix(part, line, smoothstep(radius + 0.0028 + soft, radius + 0.0028 - soft, distance))
    part[:] = mix(part, fill, smoothstep(radius + soft, radius - soft, distance))


def linocut_valley(rng: Generator, size: int) -> Array:
    """Draw a black and white linocut: light cuts in the black block, along the slopes: (size, size, 3)."""
    x, y = coordinates(size)
    sx, sy = 0.63, 0.27
    around = np.arctan2(y - sy, x - sx)
    distance = np.hypot(x - sx, y - sy)
    angles = around.copy()
    light = 0.12 + 0.7 * np.exp(-distance / 0.3) + 0.3 * np.sin(around * 22)
    disc = smoothstep(0.112, 0.11, distance)
    outline = smoothstep(0.126, 0.124, distance) - disc
    # Clouds, ridge after ridge of hills, then ploughed fields that run towards the sun.
    for cx, cy, rx, ry in ((0.2, 0.15, 0.2, 0.06), (0.3, 0.3, 0.15, 0.04), (0.92, 0.12, 0.14, 0.045)):
        lump = np.hypot((x - cx) / rx, (y - cy) / ry) + 0.13 * np.sin(14 * np.arctan2((y - cy) * 3, x - cx))
        inside = lump < 1
        light = np.where(inside, 0.35 + 0.9 * (cy + 0.4 * ry - y) / ry, light)
        angles = np.where(inside, 0.5 * np.sin(40 * (x - cx)), angles)
    for number, (base, height) in enumerate(((0.47, 0.055), (0.55, 0.05), (0.63, 0.055), (0.76, 0.06))):
        wave = np.sin((4.5 + number) * x + 2.1 * number) + 0.45 * np.sin((11 - number) * x + number * 5)
        ridge = base - height * wave
        depth = y - ridge
        inside = depth > 0
        slope = np.gradient(ridge, axis=1) * size
        if number % 2:
            furrows = np.arctan2(y - 0.36, x - sx + 0.25 * wave)
            light = np.where(inside, 0.3 + 0.45 * np.sin(furrows * 52), light)
            angles = np.where(inside, furrows, angles)
        else:
            light = np.where(inside, 0.85 - np.minimum(7.5 * depth, 0.5) + 0.25 * np.sin(x * 60 + depth * 90), light)
            angles = np.where(inside, np.arctan(slope) + 0.9 - 5 * depth, angles)
        # The cutter leaves a black line where one hill stands in front of another, with a light rim below it.
        light = np.where(np.abs(depth) < 0.006, -1, light)
        disc, outline = np.where(inside, 0, disc), np.where(inside, 0, outline)

    canvas = Canvas(np.zeros((size, size, 3)))
    for gouge, count in (
        (Brush(0.055, 0.0105, 0.0, ragged=0.0, pointed=0.9, wander=0.06), 3100),
        (Brush(0.036, 0.008, 0.0, ragged=0.0, pointed=0.9, wander=0.1), 2400),
    ):
        points = scatter(rng, count)
        tone = sample(light, points)
        points, tone = points[tone > 0.08], tone[tone > 0.08]
        widths = np.clip(0.12 + 0.85 * tone, 0.25, 1.0).astype(np.float32)
        draw_strokes(
            canvas, rng, gouge, points, angles.astype(np.float32), np.ones((len(points), 3), np.float32), widths
        )
    white = np.where(light < -0.5, 0, canvas.color[..., 0])
    white = np.clip(white * (1 - outline) * (1 - disc) + disc, 0, 1)
    background, tooth = paper(rng, size, rgb("#f3ead8")[0], 0.016)
    # Oily ink misses the deepest pits of the paper.
    ink = 0.97 - 0.22 * smoothstep(1.2, 2.4, tooth + 0.5 * noise(rng, size, 5, 2))
    return finish(mix(background, rgb("#171512")[0] + np.zeros_like(background), ink * (1 - white)))


def cut_paper(rng: Generator, size: int) -> Array:
    """Draw cut paper: seaweed, leaves and stars on blocks of gouache color: (size, size, 3)."""
    ground = rgb("#1f4fb0", "#f2b01e", "#e8452c", "#f6ead2", "#16806a", "#f08fa8", "#20242f", "#7a3f9a", "#86c5da")
    shapes = rgb("#fbf3e2", "#e23a2a", "#17459e", "#f7c22c", "#0f6e55", "#ef86a4", "#1c1c24", "#f47a28", "#62b36a")
    image = np.zeros((size, size, 3), np.float32)
    rows = np.array([-0.02, 0.19, 0.42, 0.6, 0.81, 1.02])
    blocks = []
    for number, (top, bottom) in enumerate(itertools.pairwise(rows)):
        cuts = np.sort(np.array([-0.02, 1.02, *((np.arange(1, 4) + 0.3 * np.sin(5 * number + np.arange(3))) / 4)]))
        blocks += [(left, top, right, bottom) for left, right in itertools.pairwise(cuts)]
    order = [(3 * i + 2 * (i // 4)) % len(ground) for i in range(len(blocks))]
    for (left, top, right, bottom), color in zip(blocks, order, strict=True):
        lean = rng.normal(0, 0.007, 8)
        corners = np.array([left, top, right, top, right, bottom, left, bottom]) + lean
        corners += 0.009 * np.array([-1, -1, 1, -1, 1, 1, -1, 1])
        patch = cut_out(size, corners.reshape(4, 2))
        lay(image, rng, patch, ground[color], shadow=0.2)
    for number, ((left, top, right, bottom), color) in enumerate(zip(blocks, order, strict=True)):
        center = np.array([(left + right) / 2, (top + bottom) / 2])
        reach = np.array([right - left, bottom - top]) * 0.5
        inks = [c for c in range(len(shapes)) if np.abs(shapes[c] - ground[color]).sum() > 0.75]
        first, second = rng.choice(inks, 2, replace=False)
        leaf = frond(center, reach * 0.94, fingers=(5, 9, 4, 7)[number % 4], kind=number % 3, rng=rng)
        lay(image, rng, cut_out(size, leaf), shapes[first])
        for _ in range(5):
            corner = center + reach * rng.choice([-1, 1], 2) * rng.uniform(0.6, 0.95, 2)
            dot = frond(corner, np.full(2, rng.uniform(0.014, 0.03)), fingers=int(rng.integers(3, 7)), kind=2, rng=rng)
            lay(image, rng, cut_out(size, dot), shapes[second])
    tooth = paper(rng, size, rgb("#ffffff")[0])[1]
    return finish(image * (1 + 0.02 * tooth)[..., None], 1.05)


def frond(center: Array, reach: Array, fingers: int, kind: int, rng: Generator) -> Array:
    """Return the outline of a seaweed (kind 0), a leaf with lobes on both sides (1), or a star (2): (500, 2)."""
    turn = np.linspace(0, 2 * np.pi, 500)
    if kind == 0:
        wave = np.abs(np.cos(turn * fingers)) ** 0.7
        radius = 0.3 + 0.7 * wave * (0.82 + 0.18 * np.cos(2 * turn))
        outline = np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None]
    elif kind == 1:
        height = np.cos(turn)
        lobes = np.abs(np.sin((height + 1) * np.pi / 2 * min(fingers, 5))) ** 0.55 * (1 - 0.35 * height**2)
        sides = np.sign(np.sin(turn)) * (0.1 + 0.88 * lobes)
        # The leaf grows along the longer side of its block.
        outline = np.stack([height - 0.3 * lobes + 0.12, sides], 1)
        outline = outline if reach[0] > reach[1] else outline[:, ::-1]
    else:
        radius = 0.62 + 0.38 * np.cos(turn * fingers)
        outline = np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None]
    lean = rng.normal(0, 0.18)
    rotation = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    wobble = 1 + 0.03 * np.sin(turn * 3 + rng.uniform(0, 6))[:, None]
    return center + outline @ rotation * reach * wobble


def cut_out(size: int, outline: Array) -> Array:
    """Return the mask of a closed outline of points in [0, 1]: (size, size)."""
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).polygon([tuple(p) for p in (outline * size).tolist()], fill=255)
    return np.asarray(image, np.float32) / 255


def lay(image: Array, rng: Generator, mask: Array, color: Array, shadow: float = 0.35) -> None:
    """Draw a piece of colored paper and the shadow of its edge into the image, in place."""
    size = len(mask)
    rows, columns = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
    if not len(rows):
        return
    pad = int(0.02 * size)
    box = (slice(max(0, rows[0] - pad), rows[-1] + pad), slice(max(0, columns[0] - pad), columns[-1] + pad))
    inside, part = mask[box], image[box]
    move = max(1, int(0.004 * size))
    cast = blur(np.roll(inside, (move, move), (0, 1)), 0.003 * size / max(1, len(inside)))
    # Gouache dries in streaks along the brush.
    side = max(inside.shape)
    streaks = noise(rng, side, 34, 2, stretch=9) + 0.5 * noise(rng, side, 8, 2)
    streaks = streaks.T if rng.random() < 0.5 else streaks
    streaks = streaks[: inside.shape[0], : inside.shape[1]]
    gouache = np.clip(color * (1 + 0.07 * streaks[..., None]) + 0.012 * streaks[..., None], 0, 1)
    part[:] = mix(part * (1 - shadow * cast)[..., None], gouache.astype(np.float32), inside)


def marbled_paper(rng: Generator, size: int) -> Array:
    """Draw marbled paper (ebru): drops of ink on water, combed: (size, size, 3)."""
    x, y = coordinates(size)
    # Map each pixel back through every comb, last stroke first, to the drops before it.
    px, py = x + 0.008 * noise(rng, size, 4, 2), y + 0.008 * noise(rng, size, 4, 2)
    for cx, cy, radius, spin in (
        (0.27, 0.3, 0.13, 2.6),
        (0.74, 0.66, 0.15, -2.4),
        (0.8, 0.17, 0.08, 2.2),
        (0.2, 0.8, 0.09, -2.2),
    ):
        dx, dy = px - cx, py - cy
        turn = spin * np.exp(-((np.hypot(dx, dy) / radius) ** 2))
        px, py = cx + dx * np.cos(turn) - dy * np.sin(turn), cy + dx * np.sin(turn) + dy * np.cos(turn)
    for pitch, pull, across in ((0.062, 0.085, True), (0.11, 0.2, False)):
        lane = px if across else py
        offset = np.abs(lane / pitch % 1 - 0.5) * 2
        drag = pull * (offset**3 - 0.3) * np.where((np.floor(lane / pitch) % 2 == 0) & (not across), -1, 1)
        px, py = (px, py + drag) if across else (px + drag, py)
    px, py = px.ravel().astype(np.float32), py.ravel().astype(np.float32)
    inks = rgb("#142a4f", "#b3202c", "#f3e6c8", "#1f7a7a", "#e0a52e", "#f7f1e0", "#0f1420", "#d9673f", "#6fa8a0")
    color = np.tile(inks[0], (len(px), 1))
    open_water = np.arange(len(px))
    for drop in range(120):
        # A drop pushes the ink under it outwards and keeps its area: the map below inverts that.
        cx, cy = rng.uniform(-0.1, 1.1, 2).astype(np.float32)
        radius = rng.uniform(0.025, 0.085) * (1 if drop < 85 else 1.5)
        dx, dy = px - cx, py - cy
        squared = dx * dx + dy * dy
        hit = squared < radius**2
        color[open_water[hit]] = inks[rng.integers(len(inks))]
        if hit.any():
            miss = ~hit
            open_water, dx, dy, squared = open_water[miss], dx[miss], dy[miss], squared[miss]
        push = np.sqrt(1 - np.float32(radius**2) / squared)
        px, py = cx + dx * push, cy + dy * push
    image = color.reshape(size, size, 3)
    background, tooth = paper(rng, size, rgb("#ffffff")[0], 0.02)
    thin = 0.05 * noise(rng, size, 40, 2) + 0.02 * tooth
    return finish(image * background + thin[..., None] * 0.6, 1.05)
