"""A user's files: what was written is what is read; what cannot be is one line."""

import csv
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from jaxvae import data
from jaxvae.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (20, 6, 9, 3), np.uint8)
NUMBERS = RNG.normal(size=(30, 4)).astype(np.float32)
KINDS = ["rose", "lily"]


def both_splits(dataset):
    """The examples in the order in which they were given."""
    order = np.random.default_rng(0).permutation(n := len(dataset.train_images) + len(dataset.test_images))
    held_out = np.zeros(n, bool)
    held_out[order[: len(dataset.test_images)]] = True
    joined = np.empty((n, *dataset.shape), dataset.train_images.dtype)
    joined[held_out], joined[~held_out] = dataset.test_images, dataset.train_images
    return joined


def write_table(path, names, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def write_pictures(folder, pictures, suffix=".png", kinds=KINDS):
    for i, picture in enumerate(pictures):
        (folder / kinds[i % len(kinds)]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / kinds[i % len(kinds)] / f"{i:03d}{suffix}")


# ── what was written is what is read ─────────────────────────────────────────────────────────────────────────────────


def test_an_npy_is_the_array_that_was_saved_and_its_labels_lie_beside_it(tmp_path):
    np.save(tmp_path / "patches.npy", COLOURS)
    np.save(tmp_path / "kinds.npy", np.array(KINDS * 10))
    found = data.load(tmp_path / "patches.npy", label="kinds.npy")
    np.testing.assert_array_equal(both_splits(found), COLOURS)
    assert (found.name, found.shape, found.class_names) == ("patches", (6, 9, 3), ("lily", "rose"))
    given = data.from_arrays(COLOURS, KINDS * 10)
    assert found.fingerprint == given.fingerprint == data.load(**found.source).fingerprint
    assert data.load(str(tmp_path / "patches.npy"), limit=12).train_images.shape == (12, 6, 9, 3)


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_an_npz_has_splits_under_the_names_that_people_use(tmp_path, names):
    kinds = np.arange(20) % 3
    np.savez(tmp_path / "a.npz", **dict(zip(names, (COLOURS, kinds, COLOURS[:5], kinds[:5]), strict=True)))
    found = data.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.train_images, COLOURS)
    np.testing.assert_array_equal(found.test_images, COLOURS[:5])
    np.testing.assert_array_equal(found.labels[1], kinds[:5])
    np.savez(tmp_path / "alone.npz", whatever=NUMBERS)
    np.testing.assert_array_equal(both_splits(data.load(tmp_path / "alone.npz")), NUMBERS)
    np.savez(tmp_path / "sorts.npz", x=NUMBERS, sort=np.arange(30) % 2)
    assert data.load(tmp_path / "sorts.npz", label="sort").classes == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_is_its_columns_and_one_of_them_the_label(tmp_path, kind):
    path, kinds = tmp_path / f"my measurements.{kind}", [KINDS[i % 2] for i in range(30)]
    columns = {f"c{i}": NUMBERS[:, i].astype(float) for i in range(4)}
    if kind == "csv":
        write_table(path, [*columns, "kind"], [[*map(float, row), k] for row, k in zip(NUMBERS, kinds, strict=True)])
    else:
        parquet.write_table(pa.table(columns | {"kind": pa.array(kinds).dictionary_encode()}), path)
    found = data.load(path, label="kind")
    np.testing.assert_array_equal(both_splits(found), NUMBERS)
    assert found.name == "my-measurements"
    assert found.class_names == ("lily", "rose")
    np.testing.assert_array_equal(found.labels[0], data.from_arrays(NUMBERS, kinds).labels[0])


def test_a_folder_of_pictures_has_its_sub_folders_for_classes(tmp_path):
    write_pictures(tmp_path / "flowers", COLOURS)
    (tmp_path / "flowers" / "rose" / "Thumbs.db").write_bytes(b"of a desktop")
    (tmp_path / "flowers" / ".hidden").mkdir()
    (tmp_path / "flowers" / ".hidden" / "1.png").write_bytes(b"no picture")
    found = data.load(tmp_path / "flowers")
    assert (found.shape, found.class_names) == ((6, 9, 3), ("lily", "rose"))
    np.testing.assert_array_equal(both_splits(found), np.concatenate([COLOURS[1::2], COLOURS[::2]]))
    grey = data.load(tmp_path / "flowers", grey=True)
    assert grey.shape == (6, 9)
    luma = found.train_images @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(grey.train_images - luma).max() <= 1
    scaled = data.load(tmp_path / "flowers", size="4x5")
    assert scaled.shape == (4, 5, 3)
    assert data.load(tmp_path / "flowers", size=7).shape == (7, 7, 3)
    assert data.load(**scaled.source).fingerprint == scaled.fingerprint


def test_a_folder_of_pictures_may_have_its_own_splits_and_no_classes(tmp_path):
    for split, few in (("train", COLOURS[:15, ..., 0]), ("test", COLOURS[15:, ..., 0])):
        write_pictures(tmp_path / "grey" / split, few, ".bmp", kinds=["."])
    found = data.load(tmp_path / "grey")
    np.testing.assert_array_equal(found.train_images, COLOURS[:15, ..., 0])
    np.testing.assert_array_equal(found.test_images, COLOURS[15:, ..., 0])
    assert found.labels is None


def test_a_flat_picture_keeps_its_grey_level_when_it_is_scaled_and_of_16_bits_the_upper_8(tmp_path):
    (tmp_path / "p").mkdir()
    Image.fromarray(np.full((10, 20), 77, np.uint8)).save(tmp_path / "p" / "a.png")
    Image.fromarray(np.full((10, 20), 77 * 257, np.uint16)).save(tmp_path / "p" / "b.png")
    assert (both_splits(data.load(tmp_path / "p", size=8)) == 77).all()


def test_counts_of_cells_keep_whole_numbers_and_the_kinds_of_cells(tmp_path):
    anndata = pytest.importorskip("anndata")
    from scipy import sparse

    counts = RNG.poisson(2.0, (30, 5))
    table = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs={"kind": KINDS * 15})
    table.write_h5ad(tmp_path / "cells.h5ad")
    found = data.load(tmp_path / "cells.h5ad", label="kind")
    np.testing.assert_array_equal(both_splits(found), counts)
    assert found.class_names == ("lily", "rose")
    with pytest.raises(DataError, match=r"cells\.h5ad has no column 'sort' of cells; its columns: kind"):
        data.load(tmp_path / "cells.h5ad", label="sort")


@pytest.mark.parametrize("name", ["digits8", "photos", "cancer"])
def test_embedded_data_are_the_same_on_every_call_and_splits_have_nothing_in_common(name):
    one, again = data.load(name), data.load(name)
    assert one.fingerprint == again.fingerprint
    assert data.checked(one).labels is not None
    train = {example.tobytes() for example in one.train_images}
    assert not train & {example.tobytes() for example in one.test_images}


def test_patches_of_photographs_are_where_they_say():
    from sklearn.datasets import load_sample_image

    photos, temple = data.load("photos"), load_sample_image("china.jpg")
    patch = next(p for p, label in zip(photos.train_images, photos.labels[0], strict=True) if label == 0)
    places = [(i, j) for i in range(0, 396, 6) for j in range(0, 481, 6)]
    assert any(np.array_equal(temple[i : i + 32, j : j + 32], patch) for i, j in places)
    assert photos.train_images.shape[1:] == photos.test_images.shape[1:] == (32, 32, 3)
    np.testing.assert_array_equal(np.bincount(photos.labels[0]), [5346, 5346])


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        ([2, 0, 2, 1], [2, 0, 2, 1], ()),
        ([2.0, 0.0, 2.0, 1.0], [2, 0, 2, 1], ()),
        ([True, False, True, True], [1, 0, 1, 1], ()),
        (["b", "a", "b", "ab"], [2, 0, 2, 1], ("a", "ab", "b")),
        ([2021, 1999, 2021, 2020], [2, 0, 2, 1], ("1999", "2020", "2021")),
        (np.array(["b", 7, "b", 7], object), [1, 0, 1, 0], ("7", "b")),
    ],
)
def test_labels_of_any_kind_become_classes(labels, classes, names):
    own = data.from_arrays(NUMBERS[:4], labels, test=NUMBERS[:2], test_labels=labels[:2])
    np.testing.assert_array_equal(own.labels[0], classes)
    np.testing.assert_array_equal(own.labels[1], classes[:2])
    assert (own.class_names, own.numbers) == (names, None)


def test_labels_that_are_no_classes_are_numbers():
    for labels in (NUMBERS[:, 0], np.arange(30) * 1_000_003, np.arange(2000) * 7):
        many = np.resize(NUMBERS, (len(labels), 4))
        own = data.from_arrays(many, labels, test=many[:3], test_labels=labels[:3])
        if len(labels) == 30 and labels.dtype.kind == "i":
            assert own.classes == 30
            continue
        assert (own.labels, own.classes) == (None, 0)
        np.testing.assert_allclose(own.numbers[0], labels, rtol=1e-6)
        np.testing.assert_array_equal(own.first(7, 2).numbers[1], own.numbers[1][:2])
        assert own.fingerprint != own._replace(train_labels=own.numbers[0] + 1).fingerprint


# ── careless input ───────────────────────────────────────────────────────────────────────────────────────────────────


def table(names, *rows):
    return lambda path: write_table(path, names, rows)


def pictures(*sizes):
    def write(path):
        for i, size in enumerate(sizes):
            path.mkdir(exist_ok=True)
            Image.fromarray(np.zeros(size, np.uint8)).save(path / f"{i}.png")

    return write


def damaged_picture(path):
    path.mkdir()
    (path / "1.png").write_bytes(b"\x89PNG and then nothing")


CARELESS = [
    ("a.npy", lambda path: None, {}, r"a\.npy does not exist; give a folder of pictures, or a file of the kind \.npy"),
    ("a.npy", lambda path: path.write_bytes(b""), {}, "a.npy is no array of numbers that NumPy saved"),
    ("a.npy", lambda path: np.save(path, np.array([{}], object)), {}, r"that NumPy saved \(it holds Python objects\)"),
    ("a.npy", lambda path: np.save(path, np.array(["a", "b"])), {}, "they must be an array of real numbers"),
    ("a.npy", lambda path: np.save(path, np.array(7.0)), {}, "at least one image is needed"),
    ("a.npy", lambda path: np.save(path, NUMBERS), {"label": "b.npy"}, r"b\.npy does not exist; give the \.npy file"),
    ("a.npy", lambda path: np.save(path, NUMBERS), {"size": 32}, "size is for folders of pictures; .*npy is none"),
    ("a.npy", lambda path: path.mkdir(), {}, r"holds no pictures; their names must end in \.png"),
    ("a.npz", lambda path: path.write_bytes(b"PK\3\4"), {}, r"a\.npz is no archive of arrays"),
    ("a.npz", lambda path: np.savez(path, p=NUMBERS, q=NUMBERS), {}, r"no array named x.*its arrays: p, q"),
    ("a.npz", lambda path: np.savez(path, x=NUMBERS), {"label": "y"}, "has no array y for labels; its arrays: x"),
    ("a.txt", lambda path: path.write_text("1 2"), {}, r"a\.txt is none of what can be read; give a folder"),
    ("a.csv", lambda path: path.write_text(""), {}, r"a\.csv is no table of comma-separated values with a head"),
    ("a.csv", table(["p", "q"]), {}, "has 0 rows and 2 columns of numbers; nothing to train on"),
    ("a.csv", table(["p", "p"], [1, 2]), {}, "two columns named 'p'"),
    ("a.csv", table([1.5, 2], [1, 2]), {}, "has numbers in its first line, where the names of its columns must be"),
    ("a.csv", table(["p", "q"], [1, "x"], [2, "y"]), {}, "column 'q' has no numbers but string, such as 'x'; give"),
    ("a.csv", table(["p", "q"], [1, 2], ["", 3]), {}, "column 'p' has no value in 1 rows, the first is row 1; fill"),
    ("a.csv", table(["p", "q"], [1, 2], [2, 3]), {"label": "r"}, "has no column 'r'; its columns: 'p', 'q'"),
    ("a.csv", table(["p", "q"], [1, 2], ["nan", 3]), {}, "numbers are not finite; fill them|no value"),
    ("a.csv", table(["p", "q"], ["", 2], ["", 3]), {"label": "p"}, "has no label in any row; give none"),
    ("a.parquet", lambda path: path.write_text("PAR1"), {}, r"a\.parquet is no Parquet file"),
    ("a.h5ad", lambda path: path.write_text("HDF"), {}, r"a\.h5ad is (read by anndata, which is not|no \.h5ad file)"),
    ("folder", pictures((4, 4), (4, 5)), {}, r"1\.png has 4×5 pixels, others 4×4; give the size to which all"),
    ("folder", pictures((4, 4)), {"size": "big"}, "size must be such as 32 or, height first, 48x64, up to 4096, not"),
    ("folder", pictures((4, 4)), {"size": 0}, "size must be such as 32"),
    ("folder", pictures((4, 4)), {"label": "p"}, "label is for files; .*folder is none"),
    ("folder", pictures((4, 4)), {}, "folder has 1 example; at least 2 are needed"),
    ("folder", damaged_picture, {}, r"1\.png cannot be read as a picture"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "options", "says"), CARELESS)
def test_a_careless_path_is_one_line(tmp_path, name, write, options, says):
    write(tmp_path / name)
    with pytest.raises(DataError, match=says) as caught:
        data.load(tmp_path / name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("photoes", {}, "unknown dataset 'photoes': choose one of auto, mnist, .*photos.* or a folder of pictures"),
        ("digits8", {"size": 32}, "size is for a file or folder of your own; 'digits8' is a name of a dataset"),
        ("../nowhere", {}, "nowhere does not exist; give a folder of pictures"),
    ],
)
def test_a_name_that_is_none_says_what_can_be_given(name, options, says, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("JAXVAE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=says):
        data.load(name, **options)


def test_without_anndata_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "a.h5ad").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(DataError, match=r"anndata, which is not installed: pip install 'jaxvae\[h5ad\]'"):
        data.load(tmp_path / "a.h5ad")
