"""Statistics of images: read in batches, kept under their content, made anew where a file is broken."""

import pytest
import torch
from PIL import Image
from torch import nn

from genfast.data import TensorImages, folder
from genfast.data.folder import FolderImages
from genfast.data.images import Images
from genfast.metrics import Extractor, Statistics, digit_features, inception, statistics
from genfast.metrics.inception import Inception
from genfast.metrics.statistics import fingerprint
from genfast.models import DigitClassifier


@pytest.fixture
def pixels(generator):
    return torch.rand(23, 1, 4, 4, generator=generator) * 2 - 1


def flat(images):
    return images.flatten(1)[:, :3]


def test_batches_change_nothing(pixels):
    expected = Statistics.of(flat(pixels))
    for size in (1, 7, 100):
        found = statistics(pixels, Extractor(flat), batch_size=size)
        assert found.count == 23 and torch.equal(found.features, expected.features)
        torch.testing.assert_close(found.total, expected.total)
        torch.testing.assert_close(found.products, expected.products)


def test_of_many_images_the_features_of_some_are_kept(pixels):
    found = statistics(pixels, Extractor(lambda images: (flat(images), images.flatten(1))), kept=5, batch_size=4)
    assert found.count == 23 and len(found.features) == len(found.logits) == 5
    assert torch.equal(found.features, found.logits[:, :3])
    torch.testing.assert_close(found.total, flat(pixels).double().sum(0))


class Counted(nn.Module):
    """Gives features, and counts how often."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale, self.calls = nn.Parameter(torch.tensor(scale)), 0

    def forward(self, images):
        self.calls += 1
        return self.scale * images.flatten(1), images.flatten(1)[:, :2]


def test_statistics_are_kept_under_content_and_weights(pixels, tmp_path):
    network = Counted()
    first = statistics(pixels, Extractor(network), cache=tmp_path)
    again = statistics(TensorImages(pixels.clone()), Extractor(network), cache=tmp_path)
    assert network.calls == 1
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in ("total", "products", "features"))
    assert torch.equal(first.logits, again.logits)
    changed = pixels.clone()
    changed[3, 0, 1, 1] += 1e-3
    statistics(changed, Extractor(network), cache=tmp_path)
    statistics(pixels, Extractor(network), cache=tmp_path, kept=5)
    assert network.calls == 3
    assert statistics(pixels, Extractor(Counted(2.0)), cache=tmp_path).total.sum() != first.total.sum()
    assert len(list(tmp_path.iterdir())) == 4
    # A callable without a name could be anything.
    statistics(pixels, Extractor(flat), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("harm", ["flip", "cut", "foreign"])
def test_a_corrupt_file_is_reported_and_made_anew(pixels, tmp_path, harm):
    network = Counted()
    expected = statistics(pixels, Extractor(network), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    broken = {"flip": whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "cut": whole[:-9], "foreign": b"hello"}[harm]
    path.write_bytes(broken)
    with pytest.warns(UserWarning, match=f"{path.name}: .*corrupt.*; computed anew"):
        found = statistics(pixels, Extractor(network), cache=tmp_path)
    assert torch.equal(found.features, expected.features)
    statistics(pixels, Extractor(network), cache=tmp_path)
    assert network.calls == 2
    path.write_bytes(broken)
    told = []
    statistics(pixels, Extractor(network), cache=tmp_path, report=told.append)
    assert len(told) == 1 and network.calls == 3


def test_the_content_of_a_folder_is_that_of_its_files(tmp_path, generator):
    for k in range(3):
        values = torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(values.numpy()).save(tmp_path / f"{k}.png")
    before = fingerprint(FolderImages(tmp_path, 8))
    assert before == fingerprint(FolderImages(tmp_path, 8)) != fingerprint(FolderImages(tmp_path, 4))
    assert fingerprint(folder(tmp_path, 8)) == fingerprint(folder(tmp_path, 8))
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    assert before != fingerprint(FolderImages(tmp_path, 8))


def test_the_content_of_any_other_set_is_that_of_its_images(pixels):
    class Half(Images):
        shape = (1, 4, 4)

        def __len__(self):
            return 11

        def __getitem__(self, indices):
            return pixels[list(indices)], None

    before = fingerprint(Half())
    pixels[10, 0, 0, 0] += 1
    assert before != fingerprint(Half())


def test_features_of_the_classifier():
    classifier = DigitClassifier(size=8, channels=8)
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    vectors, logits = digit_features(classifier)(x)
    assert vectors.shape == (3, 64) and logits.shape == (3, 9)
    torch.testing.assert_close(logits, classifier(x)[:, :-1].detach())
    # At 8 pixels the features are what the last layer sees.
    torch.testing.assert_close(classifier.layers[-1](vectors)[:, :-1].detach(), logits)
    assert digit_features(DigitClassifier(size=28, channels=8))(torch.zeros(2, 1, 28, 28))[0].shape == (2, 64)


@pytest.fixture(scope="module")
def weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Inception().state_dict()
    return {name.removeprefix("layers."): value for name, value in state.items()}


def test_inception_reads_its_weights_and_gives_features(weights, tmp_path):
    # 23,850,960 parameters, which is what the published file holds.
    held = sum(value.numel() for name, value in weights.items() if not name.endswith(("mean", "var", "tracked")))
    assert held == 23_850_960
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    extractor = inception(path)
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    vectors, logits = extractor(images)
    assert vectors.shape == (2, 2048) and logits.shape == (2, 1008)
    # Grey images are the same as images of three equal channels.
    assert torch.equal(extractor(images.expand(-1, 3, -1, -1))[0], vectors)
    with pytest.raises(ValueError, match="must have 1 or 3 channels, got 4"):
        extractor(torch.zeros(1, 4, 8, 8))


def test_other_files_are_no_inception(weights, tmp_path):
    with pytest.raises(ValueError, match="no such file of Inception weights"):
        inception(tmp_path / "none.pth")
    path = tmp_path / "weights.pth"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="cannot read it as weights"):
        inception(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="must hold a state_dict, names with tensors, got list"):
        inception(path)
    torch.save({name: value for name, value in weights.items() if not name.startswith("Mixed_7c.")}, path)
    with pytest.raises(ValueError, match=r"not the weights of this Inception: Missing key.*Mixed_7c"):
        inception(path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda images: images[:1].flatten(1), r"must give vectors \[4, ...\], got \[1, 16\]"),
        (lambda images: (images.flatten(1), None), None),
        (lambda images: (images.flatten(1), [1]), r"must give logits \[4, ...\], got list"),
        (lambda images: images.flatten(1) / 0, "vectors are not all finite"),
    ],
)
def test_networks_that_give_no_features_are_refused(network, message):
    images = torch.ones(4, 1, 4, 4)
    if message is None:
        assert Extractor(network)(images)[1] is None
        return
    with pytest.raises(ValueError, match=message):
        Extractor(network)(images)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="network must be a module or another callable, got int"):
        Extractor(3)
    with pytest.raises(ValueError, match="Statistics: features must be a tensor of floats"):
        Statistics.of(torch.zeros(3, 2, dtype=torch.int64))
