"""Examples that stay in their file are those of the same array in memory, whatever is asked of them."""

import numpy as np
import pytest

from jaxvae import data
from jaxvae.data import Rows, rows
from jaxvae.data.file_array import file_array
from jaxvae.errors import DataError
from jaxvae.system import machine

RNG = np.random.default_rng(0)
KINDS = {
    "bytes": RNG.integers(0, 256, (201, 6, 5), np.uint8),
    "zeros and ones": RNG.integers(0, 2, (201, 30)).astype(bool),
    "counts": RNG.integers(0, 1000, (201, 30)),
    "float32": RNG.normal(3, 2, (201, 30)).astype(np.float32),
    "float64 pictures": RNG.normal(3, 2, (201, 6, 5)),
    "another byte order": RNG.normal(3, 2, (201, 30)).astype(">f4"),
}


def mapped(path, array, mode="r"):
    np.save(path, array)
    return np.load(path, mmap_mode=mode)


def as_runs_see(dataset):
    """By every change that examples may go through."""
    if dataset.train_images.dtype == np.uint8:
        return [data.dequantized(dataset), *(data.binarized(dataset, how) for how in ("none", "dynamic", "static"))]
    return [dataset, data.scaled(data.standardized(dataset))]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_array_in_memory_to_the_bit(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 1000)
    there = data.from_arrays(mapped(tmp_path / "x.npy", KINDS[kind]))
    here = data.from_arrays(KINDS[kind])
    assert there.on_disk
    assert not here.on_disk
    assert there.fingerprint == here.fingerprint
    assert there.first(50, 7).fingerprint == here.first(50, 7).fingerprint
    for mine, expected in zip(as_runs_see(there), as_runs_see(here), strict=True):
        assert mine.fingerprint == expected.fingerprint
        for split in ("train_images", "test_images"):
            part, array = getattr(mine, split), getattr(expected, split)
            assert (part.shape, part.dtype, len(part), part.ndim) == (array.shape, array.dtype, len(array), array.ndim)
            for which in (
                slice(2, 17, 3),
                RNG.permutation(len(array)),
                [5, 5, -1],
                3,
                -2,
                np.arange(len(array)) % 3 == 0,
            ):
                np.testing.assert_array_equal(part[which], array[which])


def test_a_part_of_a_memory_map_is_that_part_of_the_file(tmp_path):
    array = RNG.normal(size=(40, 3))
    there = mapped(tmp_path / "x.npy", array)
    assert data.from_arrays(there[5:35]).fingerprint == data.from_arrays(array[5:35]).fingerprint
    for copied in (there[::2], there.T, there + 1, mapped(tmp_path / "c.npy", array, "c"), array):
        assert file_array(copied) is None  # taken into memory
    there = mapped(tmp_path / "x.npy", array, "r+")
    there[7] = 1e3
    assert data.from_arrays(there).train_images.known.high == 1e3


def test_mean_and_deviation_in_blocks_are_those_of_all_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 700)
    array = RNG.normal(1e4, 1e-2, (333, 20))
    part = data.from_arrays(mapped(tmp_path / "x.npy", array), test=array).train_images
    for axis in (0, None):
        mean, deviation = rows.moments(part, axis)
        expected = array.astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(mean, expected.mean(axis), rtol=1e-14)
        np.testing.assert_allclose(deviation, expected.std(axis), rtol=1e-8)


def test_what_is_wrong_with_numbers_in_a_file_is_said_as_of_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 100)
    for number, array in enumerate([[np.nan, 1, np.inf], [1e39, 0, 0], [2**25, 0, 0], [1 + 2j, 0, 0]]):
        array = np.array([array] * 9)
        array = array.astype(np.int64) if number == 2 else array
        there = mapped(tmp_path / f"{number}.npy", array)
        said = []
        for given in (array, there):
            with pytest.raises(DataError) as error:
                data.from_arrays(given)
            said.append(str(error.value))
        assert said[0] == said[1]


def test_a_file_that_is_changed_cut_short_or_taken_away_is_named(tmp_path):
    array, path = RNG.normal(size=(300, 5)), tmp_path / "x.npy"
    images = data.from_arrays(mapped(path, array)).train_images
    assert isinstance(images, Rows)
    with path.open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=r"x\.npy has been changed since it was opened"):
        images[:100]
    path.unlink()
    with pytest.raises(DataError, match=r"x\.npy cannot be read \(No such file"):
        images[RNG.permutation(100)]
    gone = mapped(path, array)
    path.unlink()
    with pytest.raises(DataError, match=r"x\.npy cannot be read \(No such file"):
        data.from_arrays(gone)


def test_a_file_is_mapped_if_it_is_larger_than_a_quarter_of_the_free_memory(tmp_path, monkeypatch):
    array = RNG.normal(size=(100, 5))
    np.save(tmp_path / "x.npy", array)
    np.save(tmp_path / "columns.npy", np.asfortranarray(array))
    whole = data.load(tmp_path / "x.npy")
    monkeypatch.setattr(machine, "free_memory", lambda: 3 * array.nbytes)
    part = data.load(tmp_path / "x.npy", limit=50)
    assert (part.on_disk, whole.on_disk) == (True, False)
    assert part.fingerprint == whole.first(50, 8).fingerprint
    with pytest.raises(DataError, match="examples do not lie one after another"):
        data.load(tmp_path / "columns.npy")
