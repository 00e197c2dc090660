"""The suite computes on the CPU, with one thread: for networks so small, threads cost more than they give."""

import os

os.environ.setdefault("ACCELERATE_USE_CPU", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch

torch.set_num_threads(1)
