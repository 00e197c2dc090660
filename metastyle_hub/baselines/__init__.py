"""Baselines: other methods of style transfer that the paper's Table 1 compares with, one file each.

gatys.py   optimization of the pixels (Gatys et al. 2016)
"""
