"""Evaluation: the programs and functions behind the figures of docs/results.md and docs/performance.md.

evaluate.py       every method on every pair, by a held-out evaluation network; tables, targets, plot, image grid
table1.py         every system of the paper's Table 1: size, speed, memory; quality
ablate.py         variants of meta-training at equal budgets
benchmark.py      speed and memory
qualitative.py    image grids of every style of a folder
app_load.py       many sessions of the Gradio app at once
app_timing.py     one session of the Gradio app in a browser

runner.py         methods, pairs and units of work
measurements.py   the ledger: one line per unit of work
summaries.py      means with intervals, ratios, tables
targets.py        the targets, each met or not
fidelity.py       PSNR of the unadapted output
table1_rows.py    the systems, and what the literature states of them
table1_quality.py their quality on the same pairs
hed.py            HED, an edge detector, as a second evaluation network
plots.py          loss against steps and seconds

The package is not in the wheel; it needs the extra `evaluation`.
"""
