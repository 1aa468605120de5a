"""The handwritten digits that scikit-learn carries."""

from __future__ import annotations

import torch

from genfast.data.images import TensorImages


def digits() -> TensorImages:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998), labelled 0 to 9; nothing is downloaded."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install genfast[train]") from error
    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images).float()[:, None] / 8.0 - 1.0
    return TensorImages(pixels, torch.from_numpy(bunch.target).long(), [str(d) for d in range(10)])
