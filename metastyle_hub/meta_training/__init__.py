"""Meta-training: how a base comes to be.

bilevel.py   the outer problem of the paper: the mathematics
trainer.py   the resumable loop around it
rolling.py   the same loop along long first-order trajectories, which trained most of what ships
muon.py      the optimiser that moves the convolutions of theta
"""
