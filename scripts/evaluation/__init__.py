"""What the figures of docs/quality.md come from.

judging.py        every method on every pair, by the eyes of a judge
gatys.py          the rival that optimises pixels
fidelity.py       how close the unadapted output is to its photo
measurements.py   the ledger: one line per unit of work
summaries.py      means with intervals, ratios, tables
bars.py           what was asked for, reached or not
plots.py          loss against steps and seconds
"""
