"""Meta-training: the outer loop, which makes a base.

bilevel.py        the bilevel problem of the paper: the mathematics
trainer.py        the resumable loop around it
long_horizon.py   the same loop along long first-order inner trajectories, which trained most of the shipped base
optimizer.py      Muon on convolution kernels
"""
