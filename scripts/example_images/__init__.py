"""Style images drawn with NumPy alone: each drawing is a function of a random generator and a size.

toolkit.py     coordinates, noise, palettes, paper, strokes
brushwork.py   oil, palette knife, points of color, cubist planes
crafts.py      stained glass, mosaic, batik
prints.py      woodblock, linocut, cut paper, marbled paper
washes.py      ink wash, watercolor, chalk pastel
"""
