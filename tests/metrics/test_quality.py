"""The measures of quality have the values that theory gives them."""

import math

import pytest
import torch
from torchmetrics import Metric

from genfast.metrics import (
    Statistics,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
    quality,
)


def with_moments(mean, covariance, count, generator):
    """Features whose sample mean and covariance are exactly these, up to float64's rounding."""
    x = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    x -= x.mean(0)
    white = torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (count - 1)))
    return x @ white.T @ torch.linalg.cholesky(covariance).T + mean


def covariance_of(size, generator):
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


def test_frechet_distance_of_two_gaussians_is_the_closed_form(generator):
    first, second = covariance_of(6, generator), covariance_of(6, generator)
    means = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    # The trace of the root from the symmetric form, not from the product as the package computes it.
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).sqrt().sum()
    expected = (means[0] - means[1]).square().sum() + first.trace() + second.trace() - 2 * cross
    real = with_moments(means[0], first, 40, generator)
    fake = with_moments(means[1], second, 50, generator)
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(real, real + 3.0) == pytest.approx(6 * 9.0, rel=1e-6)


def kernel(x, y):
    return ((x * y).sum().item() / len(x) + 1) ** 3


def test_kernel_distance_of_a_few_features_is_the_sum_over_pairs(generator):
    real, fake = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    inside = sum(kernel(real[i], real[j]) + kernel(fake[i], fake[j]) for i, j in pairs) / 20
    across = sum(kernel(x, y) for x in real for y in fake) / 25
    assert kernel_distance(real, fake).mean == pytest.approx(inside - 2 * across, rel=1e-9)


def test_kernel_distance_has_no_bias(generator):
    """Between halves of one distribution it is zero on average, not above zero as a distance would be."""
    found = []
    for _ in range(60):
        both = torch.randn(80, 4, generator=generator)
        found.append(kernel_distance(both[:40], both[40:]).mean)
    mean = sum(found) / len(found)
    error = torch.tensor(found).std().item() / math.sqrt(len(found))
    assert abs(mean) < 4 * error
    assert min(found) < 0 < max(found)


def test_subsets_of_the_kernel_distance_come_from_the_seed(generator):
    real, fake = torch.randn(30, 4, generator=generator), torch.randn(30, 4, generator=generator)
    state = torch.random.get_rng_state()
    first, again, other = (kernel_distance(real, fake, subsets=3, subset_size=10, seed=seed) for seed in (1, 1, 2))
    assert first == again != other and first.deviation > 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_inception_score_is_one_where_images_look_alike_and_the_classes_where_each_is_certain():
    assert inception_score(torch.zeros(50, 7)).mean == pytest.approx(1.0)
    assert inception_score(torch.tensor([[3.0, 1.0, -2.0]]).repeat(20, 1)).mean == pytest.approx(1.0)
    for certain in (50.0, 5000.0):
        one_hot = certain * torch.eye(5).repeat(8, 1)
        assert inception_score(one_hot, splits=1) == (pytest.approx(5.0, rel=1e-6), 0.0)


def test_precision_and_recall_of_sets_made_by_hand():
    line = torch.arange(8.0)[:, None]
    # Distance to the nearest of the others is 1 for all.
    assert precision_recall(line, line + 0.5, neighbours=1) == (1.0, 1.0)
    assert precision_recall(line, line + 100.0, neighbours=1) == (0.0, 0.0)
    # Half of the images are real ones, the others far away.
    half = torch.cat([line[:4], 1e4 + line[:4]])
    assert precision_recall(line, half, neighbours=1) == (0.5, 5 / 8)
    # Images that are all the same are real, but show nothing of the rest.
    same = torch.full((6, 1), 3.0)
    assert precision_recall(line, same) == (1.0, 1 / 8)
    assert precision_recall(same, line) == (1 / 8, 1.0)


def test_precision_and_recall_are_those_of_all_distances_at_once(generator):
    real, fake = torch.randn(70, 5, generator=generator), 1.4 * torch.randn(50, 5, generator=generator) + 40.3
    real += 40.0
    wide = [features.double() for features in (real, fake)]

    def share(points, centres):
        inner = (centres[:, None] - centres).norm(dim=2).sort(dim=1).values[:, 3]
        return ((points[:, None] - centres).norm(dim=2) <= inner).any(1).double().mean().item()

    expected = (share(wide[1], wide[0]), share(wide[0], wide[1]))
    for block in (1, 16, 1000):
        assert precision_recall(real, fake, block=block) == pytest.approx(expected, abs=1e-12)
    assert 0.3 < expected[0] < 1 and 0.3 < expected[1] < 1


def test_no_other_process_is_waited_for(generator, monkeypatch):
    """One process of many may measure alone."""
    asked = []
    monkeypatch.setattr(Metric, "sync", lambda *_, should_sync, **more: asked.append(should_sync))
    features = torch.randn(9, 3, generator=generator)
    frechet_distance(features, features)
    kernel_distance(features, features)
    inception_score(features)
    assert asked == [False] * 3


def test_all_at_once(generator):
    real = Statistics.of(torch.randn(40, 3, generator=generator))
    fake = Statistics.of(torch.randn(30, 3, generator=generator), torch.zeros(30, 4))
    found = quality(real, fake)
    assert (found.images, found.real_images) == (30, 40)
    assert found.fid == frechet_distance(real, fake) and found.score == pytest.approx(1.0)
    assert (found.precision, found.recall) == precision_recall(real, fake)
    assert quality(fake, real).score is None


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance, precision_recall])
def test_sets_that_cannot_be_compared_are_refused(measure):
    name = measure.__name__
    many, one = torch.randn(9, 3), torch.randn(1, 3)
    with pytest.raises(ValueError, match=f"{name}: generated must .*(at least 2 images|more than 3 images)"):
        measure(many, one)
    with pytest.raises(ValueError, match=f"{name}: the features must have the same length, got 3 and 2"):
        measure(many, torch.randn(9, 2))
    with pytest.raises(ValueError, match="features"):
        measure(many, torch.randn(9, 3, 2))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_refused(value):
    """A distance of NaN would come out as 0, which is the best there is."""
    good, bad = torch.randn(9, 3), torch.randn(9, 3)
    bad[4, 1] = value
    for measure in (frechet_distance, kernel_distance, precision_recall):
        for sets in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match="must be finite, got some that are not"):
                measure(*sets)
    with pytest.raises(ValueError, match="inception_score: the logits' probabilities must be finite"):
        inception_score(bad)
    # A class that is out of the question is none of them.
    good[:, 0] = -math.inf
    assert 1.0 <= inception_score(good).mean <= 2.0


def test_bad_numbers_are_refused():
    features = torch.randn(9, 3)
    with pytest.raises(ValueError, match="subsets must be at least 1 and subset_size at least 2, got 0 and 5"):
        kernel_distance(features, features, subsets=0, subset_size=5)
    with pytest.raises(ValueError, match="neighbours and block must be at least 1, got 0 and 8"):
        precision_recall(features, features, neighbours=0, block=8)
    with pytest.raises(ValueError, match=r"logits must be \[N, K\] with N at least 1, got none"):
        inception_score(Statistics.of(features))
    with pytest.raises(ValueError, match="splits must be at least 1"):
        inception_score(features, splits=0)
