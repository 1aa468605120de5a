"""What each process of the test of many processes does: train, and write down its latents."""

from __future__ import annotations

import sys

import torch
from latent_models import run_distributed

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_distributed(sys.argv[1])
