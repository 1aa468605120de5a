from __future__ import annotations

import gzip
import struct

import pytest
import torch

from genfast.data import idx, load, read_idx


def idx_bytes(array: torch.Tensor) -> bytes:
    shape = array.shape
    return struct.pack(f">I{len(shape)}I", 0x0800 | len(shape), *shape) + array.to(torch.uint8).numpy().tobytes()


def write(folder, name, array):
    data = idx_bytes(array)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def labels():
    return torch.tensor([3, 1, 4, 1, 9])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("below", ["", "MNIST/raw/"])
def test_mnist_under_every_name(tmp_path, images, labels, suffix, separator, below):
    write(tmp_path, f"{below}train-images{separator}idx3-ubyte{suffix}", images)
    write(tmp_path, f"{below}train-labels{separator}idx1-ubyte{suffix}", labels)
    found = load(f"mnist:{tmp_path}")
    assert torch.equal(found.pixels, images[:, None])
    assert torch.equal(found.labels, labels)
    assert load(f"fashion_mnist:{tmp_path}").class_names[9] == "Ankle boot"


def test_test_split_is_told_from_training(tmp_path, images, labels):
    write(tmp_path, "t10k-images-idx3-ubyte", images)
    write(tmp_path, "t10k-labels-idx1-ubyte", labels)
    assert len(load(f"mnist:{tmp_path}", split="test")) == 5
    with pytest.raises(ValueError, match="holds no file named train-images-idx3-ubyte"):
        load(f"mnist:{tmp_path}")


def test_emnist_is_transposed_and_letters_start_at_zero(tmp_path, images):
    write(tmp_path, "emnist-letters-train-images-idx3-ubyte.gz", images)
    write(tmp_path, "emnist-letters-train-labels-idx1-ubyte.gz", torch.tensor([1, 26, 2, 3, 4]))
    found = load(f"emnist:{tmp_path}")
    assert torch.equal(found.pixels, images.transpose(1, 2)[:, None])
    assert [found.class_names[i] for i in found.labels] == list("AZBCD")


def test_one_emnist_subset_of_several_must_be_named(tmp_path, images, labels):
    for subset in ("digits", "balanced"):
        write(tmp_path, f"emnist-{subset}-train-images-idx3-ubyte", images)
        write(tmp_path, f"emnist-{subset}-train-labels-idx1-ubyte", labels)
    with pytest.raises(ValueError, match="holds the subsets balanced, digits; name one, as emnist:balanced:DIR"):
        load(f"emnist:{tmp_path}")
    assert load(f"emnist:digits:{tmp_path}").classes == 10
    assert load(f"emnist:balanced:{tmp_path}").classes == 47
    with pytest.raises(ValueError, match="holds no file named emnist-letters-train-images"):
        load(f"emnist:letters:{tmp_path}")


def test_folder_of_several_data_sets_is_refused(tmp_path, images, labels):
    for name in ("MNIST", "FashionMNIST"):
        write(tmp_path, f"{name}/raw/train-images-idx3-ubyte", images)
        write(tmp_path, f"{name}/raw/train-labels-idx1-ubyte", labels)
    with pytest.raises(
        ValueError, match=r"several data sets; name the folder of one: .*FashionMNIST/raw, .*/MNIST/raw"
    ):
        load(f"mnist:{tmp_path}")
    assert len(load(f"mnist:{tmp_path}/MNIST")) == 5


def test_archive_with_a_folder_per_file(tmp_path, images, labels):
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        write(tmp_path, f"{name}/{name}", array)
        write(tmp_path, name.replace("-idx", ".idx"), array)
    assert len(load(f"mnist:{tmp_path}")) == 5


def test_truncated_file_tells_expected_and_actual_bytes(tmp_path, images):
    path = tmp_path / "train-images-idx3-ubyte"
    data = idx_bytes(images)
    path.write_bytes(data[:-7])
    with pytest.raises(ValueError, match=rf"{path}: truncated: expected {len(data)} bytes .*, got {len(data) - 7}"):
        read_idx(path)


def test_truncated_gzip_tells_how_far_it_goes(tmp_path):
    data = idx_bytes(torch.randint(0, 256, (50, 28, 28)))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(data)[:20000])
    with pytest.raises(ValueError, match=rf"truncated: expected {len(data)} bytes for shape \[50, 28, 28\], got \d+"):
        read_idx(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated: an IDX file has at least 4 bytes, got 0"),
        (b"\x00\x00\x08\x03\x00\x00", "expected a header of 16 bytes, got 6"),
        (b"<!DOCTYPE html>", "it begins with 0x3c21444f, expected 0x00000803"),
        (idx_bytes(torch.zeros(3)), "it begins with 0x00000801, expected 0x00000803"),
        (idx_bytes(torch.zeros(2, 2, 2)) + b"x", "too long: expected 24 bytes"),
        (b"\x1f\x8b" + b"x" * 50, "corrupt gzip file"),
    ],
)
def test_foreign_file_is_refused(tmp_path, data, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(path, 0x0803)


def test_counts_must_agree(tmp_path, images, labels):
    write(tmp_path, "train-images-idx3-ubyte", images)
    write(tmp_path, "train-labels-idx1-ubyte", labels[:4])
    with pytest.raises(ValueError, match="holds 4 labels, but train-images-idx3-ubyte 5 images"):
        idx(tmp_path)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        idx(tmp_path / "missing")
    with pytest.raises(ValueError, match="kind must be one of"):
        idx(tmp_path, "kmnist")
    with pytest.raises(ValueError, match="split must be train or test"):
        idx(tmp_path, split="val")
    with pytest.raises(ValueError, match="subset must be one of"):
        idx(tmp_path, "emnist", subset="greek")
