"""Bases and styles as files: config.json, model.safetensors, the card.

config.py    what describes one: the fields of config.json
files.py     a folder of one, written whole or not at all, read and checked; fingerprints
cards.py     README.md, with the metadata that the Hub finds styles by
"""
