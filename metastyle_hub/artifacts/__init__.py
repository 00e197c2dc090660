"""Artifacts: bases and styles as files. docs/format.md specifies them.

config.py          the fields of config.json
serialization.py   a folder of one, written whole or not at all, read and checked; fingerprints
model_card.py      README.md, with the metadata that the Hub searches
convert.py         networks of other projects
"""
