"""Images: from files, URLs, PIL images and arrays to tensors (B, 3, H, W) in [0, 1], and back.

io.py           load, convert to tensors and back, save
files.py        bytes of files and URLs; the image files of a folder
decoding.py     bytes or a PIL image of any kind -> upright 8-bit sRGB
transforms.py   resize, crop, pad tensors; preserve color
grid.py         labeled image grids
"""
