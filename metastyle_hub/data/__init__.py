"""Images for training and adaptation: datasets with random crops, the content dataset, example images.

datasets.py   folders and lists of images, random crops, readers of Hub datasets
content.py    the content images that an adaptation trains on
examples.py   the images that ship with the package
"""
