"""The density of a model's latents, estimated once the model is trained."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from genfast.ops import uniform_noise
from genfast.random import Seeds, Stream

_REGULARISATION = 1e-4
"""Added to the variances: a component may sit on few latents."""


class Mixture(nn.Module):
    """A mixture of Gaussians of full covariance (Ghosh et al. 2020, section 4), of whose buffers one latent is drawn
    per seed; before :meth:`fit` it is N(0, 1).

    Args:
        components: how many Gaussians.
        latent: length of a latent.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, components: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(components, 1, 1))

    def forward(self, noise: Tensor, seeds: Seeds) -> Tensor:
        """``mean_k + L_k noise`` of standard normal ``noise`` ``[n, latent]``, where L_k L_k^T is the covariance of
        component k, which is drawn by the uniform number of the stream ``COMPONENT``: the same bits in any batch.
        """
        u = uniform_noise([noise.shape[0], 1], seeds, stream=Stream.COMPONENT, device=noise.device)[:, 0]
        ends = self.weights.double().cumsum(0)
        k = torch.searchsorted(ends, u.double() * ends[-1], right=True)
        z, columns = self.means.float()[k], self.factors.float().unbind(2)
        # The bits of a matrix product would depend on the batch.
        for column, step in zip(columns, noise.float().unbind(1), strict=True):
            z = z + column[k] * step[:, None]
        return z.to(noise.dtype)

    @torch.no_grad()
    def fit(self, latents: Tensor, seed: int = 0) -> None:
        """Maximise the likelihood of ``latents`` ``[N, latent]`` by expectation maximisation, begun as ``seed`` says.

        Raises ValueError for a wrong shape, fewer latents than components and values that are not finite, and
        ImportError without scikit-learn.
        """
        components, latent = self.means.shape
        if latents.dim() != 2 or latents.shape[1] != latent or len(latents) < max(2, components):
            raise ValueError(
                f"Mixture.fit: latents must be [N, {latent}] with N at least {max(2, components)}, "
                f"got {list(latents.shape)}"
            )
        if not latents.isfinite().all():
            raise ValueError("Mixture.fit: latents must be finite, got some that are not")
        estimator, one_thread, not_converged = scikit_learn()
        estimator = estimator(
            components, init_params="k-means++", reg_covar=_REGULARISATION, max_iter=200, random_state=seed % (1 << 32)
        )
        # Sums have one order where there is one thread.
        with warnings.catch_warnings(), one_thread(1):
            warnings.simplefilter("ignore", not_converged)
            estimator.fit(latents.double().cpu().numpy())
        self.weights.copy_(torch.from_numpy(estimator.weights_))
        self.means.copy_(torch.from_numpy(estimator.means_))
        self.factors.copy_(torch.linalg.cholesky(torch.from_numpy(estimator.covariances_)))


def scikit_learn() -> tuple[Any, Any, Any]:
    """What :meth:`Mixture.fit` takes of scikit-learn. Raises ImportError where it is not there."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError("mixtures are fitted by scikit-learn: pip install genfast[train]") from error
    return GaussianMixture, threadpool_limits, ConvergenceWarning
