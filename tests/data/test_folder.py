from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from genfast.data import FolderImages, TensorImages, folder, load


def save(path, color, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def test_subfolders_become_classes(tmp_path):
    save(tmp_path / "cat" / "a.png", "red")
    save(tmp_path / "cat" / "deep" / "b.PNG", "lime")
    save(tmp_path / "dog" / "a.bmp", "blue")
    save(tmp_path / ".hidden" / "x.png", "white")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    images = load(f"folder:{tmp_path}", size=3)
    assert images.class_names == ("cat", "dog")
    pixels, labels = images[[0, 1, 2]]
    assert labels.tolist() == [0, 0, 1]
    assert pixels.shape == (3, 3, 3, 3)
    for index in range(3):
        assert (pixels[index].amax((1, 2)) == 2 * torch.eye(3)[index] - 1).all()


def test_images_beside_folders_have_no_labels(tmp_path):
    save(tmp_path / "a" / "a.png", "red")
    save(tmp_path / "b.png", "red")
    assert folder(tmp_path).class_names is None
    assert folder(tmp_path)[[0, 1]][1] is None


def test_a_link_to_the_folder_above_is_not_followed(tmp_path):
    save(tmp_path / "a" / "a.png", "red")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(folder(tmp_path)) == 1


def test_centre_is_kept_and_the_shorter_side_scaled(tmp_path):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    image = FolderImages(tmp_path, size=4, channels=1).decode(0)
    assert image.shape == (1, 4, 4)
    assert (image == 200).all()


def test_transparent_pixels_lie_on_white(tmp_path):
    save(tmp_path / "a.png", (255, 0, 0, 0), mode="RGBA")
    assert (FolderImages(tmp_path, 4).decode(0) == 255).all()
    assert FolderImages(tmp_path, 4, 4).decode(0)[3].max() == 0


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert (FolderImages(tmp_path, 4, 1).decode(0) == 0x80).all()


def test_small_folders_are_held_in_memory_and_large_ones_read_alike(tmp_path):
    for index in range(5):
        save(tmp_path / f"{index}.png", (index, 2 * index, 255 - index))
    held, read = folder(tmp_path, 4), folder(tmp_path, 4, memory=1)
    assert isinstance(held, TensorImages)
    assert isinstance(read, FolderImages)
    assert torch.equal(held[[4, 0, 2]][0], read[[4, 0, 2]][0])


@pytest.mark.parametrize("memory", [1 << 20, 1])
def test_broken_image_is_named(tmp_path, memory):
    save(tmp_path / "good.png", "red", size=(64, 64))
    broken = tmp_path / "broken.png"
    broken.write_bytes((tmp_path / "good.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=rf"{broken}: broken image"):
        folder(tmp_path, 4, memory=memory)[[0, 1]]


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=rf"{tmp_path}: holds no images"):
        load(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="no such folder"):
        folder(tmp_path / "missing")


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="size must be a positive int, got 0"):
        folder(tmp_path, 0)
    with pytest.raises(ValueError, match="channels must be 1, 3 or 4, got 2"):
        folder(tmp_path, 4, 2)
