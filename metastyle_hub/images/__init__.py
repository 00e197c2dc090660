"""Images: from files, URLs, PIL images and arrays to tensors (B, 3, H, W) in [0, 1], and back.

io.py           load, convert to tensors and back
files.py        bytes of files and URLs; the image files of a folder
decoding.py     bytes or a PIL image of any kind -> upright 8-bit sRGB: color.py, pages.py (TIFF), transparency.py
output.py       encode and write, whole or not at all
masks.py        which part of an image is stylized
transforms.py   resize, crop, pad tensors; preserve color
grid.py         labeled image grids
"""
