"""Drawings of glass, stone and cloth: stained glass, mosaic, batik."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .toolkit import Array, blur, coordinates, finish, gradient, mix, noise, relief, rgb, smoothstep


def stained_glass(rng: Generator, size: int) -> Array:
    """Draw a rose window: petals of hand-made glass in rings, held in lead: (size, size, 3)."""
    x, y = coordinates(size)
    wx, wy = x + 0.006 * noise(rng, size, 5, 2), y + 0.006 * noise(rng, size, 5, 2)
    radius, turn = np.hypot(wx - 0.47, wy - 0.53), np.arctan2(wy - 0.53, wx - 0.47)
    rings = np.array([0, 0.045, 0.13, 0.2, 0.3, 0.38, 0.49, 0.58, 0.7, 0.86])
    parts = np.array([1, 8, 16, 8, 16, 32, 16, 32, 24])
    gap = np.full((size, size), 1.0, np.float32)
    piece = np.zeros((size, size), np.int64)
    kind = np.zeros((size, size), np.int64)
    for ring, (inner, outer, count) in enumerate(zip(rings, rings[1:], parts, strict=False)):
        here = (radius >= inner) & (radius < outer)
        deep = outer - inner
        along = (radius - inner) / deep
        # The sector's own coordinates: s runs from -1 to 1 across it, every second ring is turned by half.
        sector = (turn / (2 * np.pi) * count + 0.5 * (ring % 2)) % count
        s = 2 * (sector % 1) - 1
        across = 2 * np.pi * np.maximum(radius, 0.01) / count / 2
        edges = np.minimum((radius - inner), (outer - radius))
        if count > 1:
            edges = np.minimum(edges, (1 - np.abs(s)) * across)
        inside = np.zeros_like(here)
        if ring in (1, 3, 4, 6, 8):
            # A pointed petal within the sector; its spandrels are pieces of their own.
            profile = np.abs(s) - np.sin(np.pi * np.clip(along, 0, 1) ** 0.8) * 0.92
            edges = np.minimum(edges, np.abs(profile) * across * 0.75)
            inside = profile < 0
            vein = np.abs(s) * across
            edges = np.where(inside & (ring > 2), np.minimum(edges, vein + 0.0004), edges)
        number = np.floor(sector).astype(np.int64) * 4 + np.where(inside, 0, 1) + 2 * (s > 0)
        piece = np.where(here, ring * 1000 + number, piece)
        kind = np.where(here, 2 * ring + inside, kind)
        gap = np.where(here, np.minimum(gap, edges), gap).astype(np.float32)

    glass = rgb(
        "#ffd24a",
        "#ffd24a",
        "#1a2f9a",
        "#e01f3a",
        "#1f8fb8",
        "#1f8fb8",
        "#16247a",
        "#f58a1a",
        "#123a8a",
        "#c4143a",
        "#f0b22a",
        "#2aa06a",
        "#2a1f7a",
        "#2f7fd8",
        "#7a1f8a",
        "#e8b83a",
        "#0f2a6a",
        "#c41f3a",
    )
    shades = rng.normal(0, 1, (12000, 3)).astype(np.float32)
    tint = glass[kind % len(glass)] * (1 + 0.13 * shades[piece, :1]) + 0.05 * shades[piece]
    # Mouth-blown glass: streaks whose direction differs from piece to piece, seeds and ripples.
    streak = [noise(rng, size, 26, 3, stretch=s) for s in (6, 0.16, 1.5)]
    pattern = np.choose(piece % 3, streak)
    bright = 0.85 + 0.16 * pattern + 0.3 * smoothstep(0, 0.025, gap) * (0.8 + 0.25 * noise(rng, size, 4, 2))
    image = np.clip(tint, 0.015, 1) * bright[..., None]
    seeds = smoothstep(2.2, 2.9, noise(rng, size, 90, 1))
    image = image + 0.3 * seeds[..., None]
    lead = smoothstep(0.0052, 0.0036, gap)
    rod = np.sqrt(np.clip(1 - (gap / 0.0052) ** 2, 0, 1)) * 5
    lead_color = relief(np.zeros_like(image) + rgb("#24221f")[0], rod + 0.2 * noise(rng, size, 120, 2), 1.3, 0.3)
    image = mix(image, lead_color, lead)
    halo = blur(np.clip(image - 0.35, 0, 1), 0.012)
    return finish(image + 0.38 * halo, 1.12)


def mosaic_sun(rng: Generator, size: int) -> Array:
    """Draw a Byzantine mosaic: a gold sun over a lapis sea, in cubes set row by row in mortar: (size, size, 3)."""
    x, y = coordinates(size)
    tile = 0.0185
    wx, wy = x + 0.004 * noise(rng, size, 6, 2), y + 0.004 * noise(rng, size, 6, 2)
    dx, dy = wx - 0.56, wy - 0.4
    radius, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    rays = 0.235 + 0.06 * np.cos(turn * 12 + 0.5 * np.sin(radius * 30))
    row = np.floor(radius / tile)
    count = np.maximum(5, np.round(2 * np.pi * (row + 0.5)))
    column = turn / (2 * np.pi) * count + 0.37 * row
    u, v = column % 1 - 0.5, radius / tile % 1 - 0.5
    column = np.floor(column) % count
    sun, ray = radius < 0.15, radius < rays
    # The sea: rows follow the waves, and each row is laid half a cube further.
    sea_level = 0.66 + 0.028 * np.sin(11 * wx) + 0.012 * np.sin(27 * wx + 1)
    wave = wy + 0.5 * (0.66 - sea_level) - 0.66 + 0.014 * np.sin(13 * wx + 20 * wy)
    sea = wy > sea_level
    sea_row = np.floor(wave / tile)
    sea_column = wx / tile + 0.5 * (sea_row % 2) + 0.2 * np.sin(sea_row * 2.4)
    u, v = np.where(sea, sea_column % 1 - 0.5, u), np.where(sea, wave / tile % 1 - 0.5, v)
    row, column = np.where(sea, sea_row + 200, row), np.where(sea, np.floor(sea_column) + 20, column)
    key = ((row + 60) * 811 + column * 7).astype(np.int64) % 65536
    chance, tilt = rng.random((65536, 4)).astype(np.float32), rng.normal(0, 1, (65536, 2)).astype(np.float32)
    pickup = chance[key]

    # The position of the cube decides its color, not the position within the cube, so tones are taken per row.
    def band(colors: Array, place: Array) -> Array:
        which = np.clip(place * (len(colors) - 1) + (pickup[..., 0] - 0.5) * 1.6, 0, len(colors) - 1)
        return colors[np.round(which).astype(int)]

    ring = row * tile
    sky = band(rgb("#f0dfb8", "#8fd0c0", "#3fa8a8", "#1f6f98", "#1b3f86", "#22205e", "#5a1f52"), (ring - 0.2) / 0.6)
    sky = np.where((row.astype(int) % 7 == 4)[..., None], band(rgb("#e8c15a", "#c98a2e"), pickup[..., 1]), sky)
    gold = band(rgb("#fff2b8", "#f9d65c", "#e6a92e", "#b8741c"), (ring / 0.15) ** 2)
    flame = band(rgb("#d4371f", "#ef7a24", "#f6b53a"), (ring - 0.15) / 0.13)
    face = np.where(sun[..., None], gold, np.where(ray[..., None], flame, sky))
    crest = (row.astype(int) * 5 + np.round(2.2 * np.sin(column * 0.17 + row)).astype(int)) % 9
    deep = rgb("#0d2460", "#14468c", "#1b3f86", "#1f7f9a", "#123070", "#5fc0b8", "#f2e6c4", "#0d2460", "#14468c")
    face = np.where(sea[..., None], deep[crest], face)
    face = face * (1 + 0.22 * (pickup[..., 1:2] - 0.5)) + 0.09 * (pickup[..., 1:4] - 0.5)
    # A dark line of cubes separates sun, rays and sea, as in the old workshops.
    contour = (np.abs(radius - 0.15) < tile / 2) | (np.abs(wy - sea_level) < tile * 0.45)
    face = np.where(contour[..., None], rgb("#4a1420")[0] * (0.8 + 0.5 * pickup[..., 1:2]), face)
    inset = np.minimum(0.5 - np.abs(u) * (1 + 0.05 * tilt[key, 0]), 0.5 - np.abs(v) * (1 + 0.05 * tilt[key, 1]))
    inset = inset + 0.045 * noise(rng, size, 90, 2)
    borders = np.minimum(np.abs(wy - sea_level) + tile * 0.05, np.where(sea, 1, np.abs(radius - rays))) / tile
    inset = np.minimum(inset, borders)
    stone = smoothstep(0.05, 0.13, inset)
    face = face * (1 + 0.05 * noise(rng, size, 110, 2))[..., None]
    glint = np.clip(tilt[key, 0] * u + tilt[key, 1] * v + 0.12 * tilt[key, 0], -0.6, 1)
    face = face * (1 + 0.28 * glint)[..., None] + 0.1 * np.clip(glint, 0, 1)[..., None]
    mortar = rgb("#8f8270")[0] * (0.8 + 0.12 * noise(rng, size, 60, 3))[..., None]
    image = mix(mortar, face, stone)
    return finish(relief(image, stone * 2.2, 0.45, 0.1), 1.15)


def batik_kawung(rng: Generator, size: int) -> Array:
    """Draw a Javanese batik: kawung fruit in brown and indigo, with veins where the wax cracked: (size, size, 3)."""
    x, y = coordinates(size)
    wobble = 0.0022 * noise(rng, size, 14, 3)
    px, py = x + wobble, y + 0.0022 * noise(rng, size, 14, 3)
    pitch = 0.19
    cream, gold, brown, dark, indigo = rgb("#f3e3c0", "#d9a24a", "#8a431c", "#2c130c", "#1b2f5e")
    u, v = px / pitch + 0.13, py / pitch + 0.31
    # Two grids of lens shapes, one per diagonal, make up the four fruits round each crossing.
    cell = np.floor(u).astype(int) * 3 + np.floor(v).astype(int) * 5
    a, b = u % 1 - 0.5, v % 1 - 0.5
    along = np.where(a * b > 0, a + b, a - b) / np.sqrt(2)
    across = np.where(a * b > 0, a - b, a + b) / np.sqrt(2)
    along = np.abs(along) - 0.355
    fruit = 0.185 - np.hypot(along * 0.62, across) - 0.03 * np.abs(along)
    ground = 0.5 + 0.5 * np.sin(2 * np.pi * (u + v) / 4) * np.sin(2 * np.pi * (u - v) / 4)
    image = mix(dark, indigo, smoothstep(0.42, 0.58, ground.astype(np.float32)))
    # Isen: the ground is filled with rows of dots, and with small stars between the fruits.
    dots = np.hypot((u * 9) % 1 - 0.5, (v * 9) % 1 - 0.5)
    image = mix(image, gold, 0.85 * smoothstep(0.24, 0.16, dots))
    for shift, arms, reach in ((0.0, 8, 0.15), (0.5, 4, 0.075)):
        sa, sb = (u + shift + 0.5) % 1 - 0.5, (v + shift + 0.5) % 1 - 0.5
        turn, radius = np.arctan2(sb, sa), np.hypot(sa, sb)
        star = radius / (reach * (0.72 + 0.28 * np.cos(arms * turn)))
        image = mix(image, dark, smoothstep(1.3, 1.2, star))
        image = mix(image, cream, smoothstep(1.05, 0.95, star))
        image = mix(image, brown, smoothstep(0.62, 0.52, star))
        image = mix(image, gold, smoothstep(0.22, 0.14, star))
    layers = (
        (-0.016, dark),
        (0.0, cream),
        (0.022, brown),
        (0.036, gradient(np.stack([gold, cream]), across * 3 + 0.5)),
    )
    for level, dye in layers:
        image = mix(image, dye, smoothstep(level - 0.004, level + 0.004, fruit))
    seam = np.abs(across) - 0.012 * (1 + np.cos(along * 9))
    inner = smoothstep(0.04, 0.045, fruit)
    image = mix(image, dark, inner * smoothstep(0.006, 0.0, seam))
    ribs = smoothstep(0.34, 0.42, np.abs((along * 13 + 4 * np.abs(across)) % 1 - 0.5))
    rib_dye = np.where((cell % 3 == 0)[..., None], indigo, brown)
    image = mix(image, rib_dye, 0.85 * ribs * inner * smoothstep(0.02, 0.03, seam))
    # Where the wax broke, dye crept in: thin dark veins on the light parts.
    light = image.mean(-1)
    for cells, width in ((5, 0.05), (9, 0.06), (14, 0.05)):
        vein = np.abs(noise(rng, size, cells, 4))
        image = mix(image, indigo * 0.7, 0.85 * smoothstep(width, width * 0.3, vein) * smoothstep(0.25, 0.5, light))
    uneven = 1 + 0.09 * noise(rng, size, 6, 4)
    thread = np.sin(x * np.pi * 2 * 230) * np.sin(y * np.pi * 2 * 230) + 0.5 * noise(rng, size, 120, 1, stretch=8)
    return finish(image * (uneven + 0.02 * thread)[..., None] + 0.008 * thread[..., None], 1.05)
