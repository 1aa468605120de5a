from __future__ import annotations

import errno

import numpy as np
import pytest
import torch
from PIL import Image

from genfast.training import image_grid, save_gif, save_grid


def test_images_lie_row_by_row():
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    grid = image_grid(images, columns=2, scale=1)[:, :, 0].tolist()
    white = 255
    assert grid == [
        [0, 0, white, 128, 128],
        [0, 0, white, 128, 128],
        [white] * 5,
        [255, 255, white, white, white],
        [255, 255, white, white, white],
    ]


def test_small_images_are_enlarged_and_odd_values_are_tamed():
    images = torch.full((1, 3, 8, 8), 7.0)
    images[0, :, 0, 0] = torch.nan
    grid = image_grid(images)
    assert grid.shape == (32, 32, 3)
    assert (grid[:4, :4] == 0).all()
    assert (grid[4:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_holds_the_grid(tmp_path, channels):
    images = torch.rand(5, channels, 4, 4) * 2 - 1
    path = save_grid(tmp_path / "new" / "grid.png", images)
    pixels = np.asarray(Image.open(path)).reshape(*image_grid(images).shape)
    assert np.array_equal(pixels, image_grid(images).numpy())


def test_full_disk_leaves_the_old_picture(tmp_path, monkeypatch):
    path = save_grid(tmp_path / "grid.png", torch.zeros(1, 1, 4, 4))
    before = path.read_bytes()

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        save_grid(path, torch.ones(1, 1, 4, 4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_as_the_user_named_it(tmp_path, monkeypatch):
    def fail(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.touch", fail)
    # As on a read-only file system, which refuses to remove even what is not there.
    monkeypatch.setattr("pathlib.Path.unlink", fail)
    with pytest.raises(PermissionError) as caught:
        save_grid(tmp_path / "grid.png", torch.ones(1, 1, 4, 4))
    assert caught.value.filename == str(tmp_path / "grid.png")


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images must be \[B, C, H, W\] with C 1, 3 or 4, got \[2, 2, 4, 4\]"):
        image_grid(torch.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match="columns and scale must be at least 1"):
        image_grid(torch.zeros(2, 1, 4, 4), columns=-1)
    with pytest.raises(ValueError, match="save_gif: images must hold at least one image, got none"):
        save_gif(tmp_path / "walk.gif", torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match=r"save_gif: images must be \[T, C, H, W\] or .*got \[1, 4, 4\]"):
        save_gif(tmp_path / "walk.gif", torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"the suffix must be that of a picture, such as .png, got '.txt'"):
        save_grid(tmp_path / "grid.txt", torch.zeros(1, 1, 4, 4))
