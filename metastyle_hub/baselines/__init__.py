"""Baselines: the other systems of the paper's Table 1, written from their papers, one file each.

system.py          what they have in common: prepare a style, transfer it to images, count parameters
training.py        the resumable training of a baseline
compact.py         all of them on `compact` features

gatys.py           optimization of the pixels (Gatys et al. 2016)
johnson.py         one network for one style (Johnson et al. 2016)
wct.py             whitening and coloring (Li et al. 2017)
adain.py           adaptive instance normalization (Huang and Belongie 2017)
meta_networks.py   a network that generates the network (Shen et al. 2018)
avatar_net.py      the style decorator (Sheng et al. 2018)
style_swap.py      patches of features (Chen and Schmidt 2016)
"""
