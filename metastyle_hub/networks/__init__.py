"""Networks: the image transformation network, the feature extractors, the style predictor.

transformer_net.py     M(.; w), the network that stylizes, and its call as a pure function of parameters
layers.py              reflection-padded convolution, instance norm, injected noise
feature_extractor.py   VGG-like networks that the perceptual loss compares images with
style_predictor.py     Gram matrices of a style -> initial norm parameters
param_groups.py        which parameters an adaptation trains
"""
