import gzip
import hashlib
import shutil
import socket
import time

import numpy as np
import pytest
from scipy import stats

from jaxvae import data
from jaxvae.data import changes, digits, published
from jaxvae.data.dataset import FILES, Dataset
from jaxvae.errors import DataError, InputError
from jaxvae.system import cache_dir


def idx(array, rank=None):
    header = bytes((0, 0, 8, rank or array.ndim)) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes())


ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_idx_is_read_as_written(tmp_path):
    (tmp_path / "a.gz").write_bytes(idx(ARRAY))
    np.testing.assert_array_equal(published.read_idx(tmp_path / "a.gz", 3), ARRAY)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (idx(ARRAY)[:-12], "cut short"),
        (b"plain text, no gzip", "no sound gzip"),
        (idx(ARRAY, rank=1), "starts with 0x00000801, not 0x00000803"),
        (gzip.compress(b"\0\0"), "starts with"),
        (gzip.compress(bytes((0, 0, 8, 3, 0, 0))), "ends within its header"),
        (gzip.compress(gzip.decompress(idx(ARRAY))[:-1]), "says it holds 24 bytes and holds 23"),
        (gzip.compress(gzip.decompress(idx(ARRAY)) + b"\0"), "says it holds 24 bytes and holds more"),
        (gzip.compress(bytes((0, 0, 8, 3)) + b"\x7f\xff\xff\xff" * 3), "more than any dataset"),
    ],
    ids=["truncated", "text", "labels", "empty", "short-header", "too-few", "too-many", "huge-claim"],
)
def test_a_damaged_idx_file_is_named_with_what_is_wrong(tmp_path, content, says):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        published.read_idx(tmp_path / "a.gz", 3)
    assert str(tmp_path / "a.gz") in str(caught.value)
    assert "\n" not in str(caught.value)


def dataset(**changes):
    images, labels = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    return Dataset("tiny", **(arrays | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": np.zeros(2, np.uint8)}, "3 train examples but 2 labels"),
        ({"test_images": np.zeros((3, 8, 8), np.uint8)}, r"shapes \(28, 28\) and \(8, 8\); they must be the same"),
        ({"test_labels": np.array([0, 1, 1000])}, "test labels 0 to 1000; classes must be 0 to 999"),
        ({"test_labels": np.array([0, -1, 1])}, "no label of 1 of 3 test examples, the first is 1; only training"),
        ({"test_labels": np.array([0, -2, 1])}, "test labels -2 to 1; classes must be 0 to 999"),
        ({"train_labels": np.array([0, -2, 1])}, "train labels -2 to 1; classes must be 0 to 999"),
        (
            {"train_labels": np.array([-1, 1, 1])},
            "train labels −1 and 1, of which −1 is no class; give two classes as 0",
        ),
        ({"test_labels": np.zeros((3, 1), int)}, r"test labels of shape \(3, 1\); one for each example is needed"),
        ({"test_labels": np.full(3, np.nan)}, "test labels that are not finite numbers"),
        ({"test_labels": np.full(3, "a")}, "test labels of <U1; they must be an array of numbers"),
        ({"test_labels": [0, 1, 2]}, "test labels of list"),
        ({"train_images": np.zeros((3, 28, 28))}, "images of float32 and uint8; only bytes stand for numbers in"),
        ({"train_images": np.zeros((3, 28, 28), str)}, "train images of <U1; they must be an array of real numbers"),
        ({"train_images": np.zeros((3, 28, 28), complex)}, "train images of complex128; they must be an array of real"),
        ({"train_images": [[1.0]]}, "train images of list; they must be an array of real numbers"),
        ({"train_images": np.array([[1.0], [np.nan]])}, "train images of which 1 numbers are not finite"),
        ({"train_images": np.array([[1.0], [-np.inf]])}, "train images of which 1 numbers are not finite"),
        ({"train_images": np.array([[1], [2**24 + 1]])}, "up to 16,777,217; whole numbers beyond 16,777,216 are not"),
        ({"train_images": np.array([[1], [-(2**63)]])}, "up to 9,223,372,036,854,775,808; whole numbers beyond"),
        ({"train_images": np.array([[1.0], [-1e39]])}, r"train images up to 1e\+39; they must be below"),
        ({"train_images": np.zeros((0, 28, 28), np.uint8)}, "at least one image is needed"),
        ({"train_images": np.zeros((3, 0), np.uint8)}, r"shape \(3, 0\); at least one image is needed"),
        ({"train_images": np.zeros(3, np.uint8)}, r"train images of shape \(3,\)"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes, says):
    assert data.checked(dataset()) is not None
    with pytest.raises(DataError, match=says):
        data.checked(dataset(**changes))


def test_numbers_other_than_bytes_become_float32_and_are_told_from_bytes():
    halves = np.arange(6).reshape(3, 2) / 2
    floats = data.checked(Dataset("own", halves, None, halves.astype(np.float16), None))
    for images in (floats.train_images, floats.test_images):
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, halves)
    for kind in (np.int64, np.uint16, bool):
        whole = np.array([[0, 1], [1, 0]], kind)
        np.testing.assert_array_equal(data.checked(Dataset("own", whole, None, whole, None)).train_images, whole)
    halves = floats.train_images
    as_bytes = halves.view(np.uint8).reshape(3, 2, 4)
    assert floats.fingerprint != floats._replace(train_images=as_bytes, test_images=as_bytes).fingerprint


def test_a_byte_is_spread_evenly_over_its_level():
    """Theis et al. 2016: (byte + u) / 256 with u uniform in [0, 1); an image's place alone decides on its draws."""
    levels = np.tile(np.arange(256, dtype=np.uint8), (400, 1))
    spread = data.dequantized(Dataset("own", levels, None, levels[:5], None))
    np.testing.assert_array_equal(np.floor(256 * spread.train_images), levels)
    u = (256 * spread.train_images.astype(float) - levels).ravel()
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
    fewer = data.dequantized(Dataset("own", levels[:7], None, levels, None))
    np.testing.assert_array_equal(fewer.train_images, spread.train_images[:7])
    assert not np.array_equal(spread.test_images, spread.train_images[:5])
    floats = Dataset("own", spread.train_images, None, spread.test_images, None)
    assert data.dequantized(floats) is floats


def test_a_tenth_of_an_array_is_held_out_by_its_seed_and_no_example_is_lost():
    examples, labels = np.arange(60.0).reshape(30, 2), np.arange(30)
    own = data.from_arrays(examples, labels, name="own")
    assert (len(own.train_images), len(own.test_images), own.name) == (27, 3, "own")
    both = np.concatenate([own.train_images, own.test_images])
    np.testing.assert_array_equal(np.sort(both, 0), examples)
    np.testing.assert_array_equal(both[:, 0] / 2, np.concatenate(own.labels))
    assert (np.diff(own.train_images[:, 0]) > 0).all()  # in their order
    again, other = data.from_arrays(examples, labels), data.from_arrays(examples, labels, seed=1)
    assert again.fingerprint == own.fingerprint != other.fingerprint
    lists = data.from_arrays(examples.tolist(), test=examples[:4].tolist())
    assert (len(lists.train_images), len(lists.test_images), lists.labels) == (30, 4, None)


@pytest.mark.parametrize(
    ("given", "codes", "names"),
    [
        ([0, -1, 2], [0, -1, 2], ()),
        ([0.0, np.nan, 2.0], [0, -1, 2], ()),
        (["b", None, "a"], [1, -1, 0], ("a", "b")),
        (["b", "", "a"], [1, -1, 0], ("a", "b")),
        ([True, None, False], [1, -1, 0], ()),
        ([2020, None, 1990], [1, -1, 0], ("1990", "2020")),
        ([2020, -1, 1990], [1, -1, 0], ("1990", "2020")),
    ],
)
def test_a_class_that_is_not_known_is_minus_one(given, codes, names):
    found = data.from_arrays(np.zeros((3, 2)), given, test=np.zeros((2, 2)), test_labels=[given[0], given[2]])
    np.testing.assert_array_equal(found.train_labels, codes)
    np.testing.assert_array_equal(found.test_labels, [codes[0], codes[2]])
    assert (found.class_names, found.unlabelled, found.classes) == (names, 1, max(codes) + 1)
    np.testing.assert_array_equal(found.labelled, [True, False, True])


def test_examples_to_test_on_are_of_those_with_a_class():
    examples, labels = np.arange(60.0)[:, None], np.where(np.arange(60) % 3 == 0, np.arange(60) % 2, -1)
    found = data.from_arrays(examples, labels)
    assert (len(found.train_images), len(found.test_images), found.unlabelled) == (58, 2, 40)
    both = np.concatenate([found.train_images, found.test_images])[:, 0].astype(int)
    np.testing.assert_array_equal(np.sort(both), np.arange(60))
    np.testing.assert_array_equal(labels[both], np.concatenate(found.labels))


def test_classes_that_no_training_example_has_serve_nothing():
    labels = np.array([-1, -1, -1, 0, 1])
    whole = data.from_arrays(np.arange(5.0)[:, None], labels, test=np.arange(2.0)[:, None], test_labels=[0, 1])
    assert whole.classes == 2
    few = whole.first(3, 2)
    assert (few.labels, few.unlabelled, few.classes) == (None, 0, 0)
    assert data.checked(few._replace(train_labels=labels[:3], test_labels=np.array([0, 1]))).labels is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([[1.0, 2.0]],), "data has 1 example; at least 2 are needed"),
        (([[1.0], [1.0, 2.0]],), "data has train images of list; they must be an array of real numbers"),
        (("x.npy",), "examples must be an array, not 'x.npy'; jaxvae.data.load reads files"),
        ((["a", "b"],), r"data has train images of <U1; they must be an array of real numbers"),
        ((np.zeros((4, 2)), [None, np.nan, None, ""]), "data has no label in any row; give none"),
        ((np.zeros((4, 2)), [-1, -1, -1, -1]), "data has no label in any row; give none"),
        ((np.zeros((4, 2)), [0.5, 1, np.nan, 1]), "data has labels that are not finite numbers"),
        ((np.zeros((4, 2)), [0.5, 1, None, 1]), "data has labels that are not finite numbers"),
        ((np.zeros((4, 2)), [0, 1]), "data has 4 train examples but 2 labels"),
        ((np.zeros((2000, 2)), list(map(str, range(2000)))), "data has 2,000 different labels; classes are at most"),
    ],
)
def test_arrays_that_cannot_be_a_dataset_are_one_line(given, says):
    with pytest.raises(DataError, match=says):
        data.from_arrays(*given)
    for words in ({"name": "a/b"}, {"seed": -1}, {"test_labels": [1]}):
        with pytest.raises(DataError, match=next(iter(words))):
            data.from_arrays(np.zeros((4, 2)), **words)


def test_examples_may_have_any_shape_and_any_number_of_classes_or_no_labels():
    images = np.zeros((4, 12, 9, 2), np.uint8)
    labelled = data.checked(Dataset("own", images, np.array([0, 41, 3, 3]), images[:2], np.array([7, 0], np.int8)))
    assert (labelled.shape, labelled.classes) == ((12, 9, 2), 42)
    np.testing.assert_array_equal(labelled.labels[1], [7, 0])
    plain = data.checked(Dataset("table", images[:, 0, :, 0], None, images[:2, 0, :, 0], None))
    assert (plain.shape, plain.classes, plain.labels) == ((9,), 0, None)
    assert labelled.fingerprint != plain.fingerprint
    half = data.checked(plain._replace(train_labels=np.zeros(4, int)))  # of one split alone they serve nothing
    assert (half.classes, half.labels, half.fingerprint) == (0, None, plain.fingerprint)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_first_images_come_with_their_labels(labelled, small):
    if not labelled:
        small = small._replace(train_labels=None, test_labels=None)
    few = small.first(7, 3)
    np.testing.assert_array_equal(few.train_images, small.train_images[:7])
    np.testing.assert_array_equal(few.test_images, small.test_images[:3])
    if labelled:
        np.testing.assert_array_equal(few.train_labels, small.train_labels[:7])
        np.testing.assert_array_equal(few.test_labels, small.test_labels[:3])
    else:
        assert few.labels is None
    assert (few.name, few.shape) == (small.name, small.shape)


def test_pixels_of_any_shape_are_binarised_by_place():
    """One row of a table is drawn as the picture of the same bytes is."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 4, 3, 2), np.uint8)
    rows = pictures.reshape(5, 24)
    drawn, drawn_rows = (data.binarized(Dataset("own", x, None, x, None), "static") for x in (pictures, rows))
    np.testing.assert_array_equal(drawn.train_images.reshape(5, 24), drawn_rows.train_images)
    assert set(np.unique(drawn.train_images)) <= {0, 255}


def test_fingerprint_sees_every_byte_and_the_split():
    plain = dataset()
    changed = plain.train_images.copy()
    changed[2, 27, 27] = 1
    assert dataset(train_images=changed).fingerprint != plain.fingerprint
    assert dataset(train_images=changed).fingerprint != dataset(test_images=changed).fingerprint
    assert dataset().fingerprint == plain.fingerprint


# ── MNIST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mnist_from_the_published_files(mnist_dir):
    mnist = data.load("mnist", mnist_dir)
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_images.dtype == np.uint8
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train_images.mean() == pytest.approx(255 * 0.1307, abs=0.05)  # MNIST's published mean
    raw = gzip.decompress((mnist_dir / "mnist" / FILES["test_images"]).read_bytes())[16:]
    assert hashlib.sha256(raw).digest() == hashlib.sha256(mnist.test_images.tobytes()).digest()


def test_mnist_is_read_from_the_cache_the_second_time(mnist_dir, monkeypatch):
    first = data.load("mnist", mnist_dir)
    monkeypatch.setattr(published, "_fetch", lambda *_, **__: pytest.fail("read the published files again"))
    started = time.perf_counter()
    again = data.load("mnist", mnist_dir)
    assert time.perf_counter() - started < 5  # a tenth of a second on a quiet machine
    assert again.fingerprint == first.fingerprint
    assert data.load("auto").name == "mnist"
    assert data.load("mnist", limit=600).test_images.shape == (100, 28, 28)


def test_a_damaged_cache_is_made_again(mnist_dir):
    first = data.load("mnist", mnist_dir)
    path = cache_dir() / "mnist.npz"
    content = bytearray(path.read_bytes())
    content[20_000_000] ^= 1
    path.write_bytes(content)
    assert data.load("mnist", mnist_dir).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("injure", "says"),
    [
        (lambda place: (place / FILES["test_labels"]).unlink(), "lacks t10k-labels"),
        (lambda place: (place / FILES["test_labels"]).write_bytes(b"x"), "t10k-labels-idx1-ubyte.gz is damaged"),
        (lambda place: _flip(place / FILES["train_labels"]), "train-labels-idx1-ubyte.gz is damaged"),
    ],
)
def test_damaged_files_are_an_error_even_for_auto(mnist_dir, tmp_path, injure, says):
    shutil.copytree(mnist_dir / "mnist", tmp_path / "copy" / "mnist")
    data.load("mnist", tmp_path / "copy")
    for path in (tmp_path / "copy" / "mnist").iterdir():
        path.chmod(0o644)
    injure(tmp_path / "copy" / "mnist")
    for name in ("mnist", "auto"):
        with pytest.raises(DataError, match=says):
            data.load(name, tmp_path / "copy")


@pytest.mark.parametrize(
    "named",
    [
        lambda file: file.removesuffix(".gz"),
        lambda file: file.removesuffix(".gz").replace("-idx", ".idx"),
        lambda file: file,  # as a browser leaves it that unzips what it fetches
        lambda file: file if "images" in file else file.removesuffix(".gz"),
    ],
)
def test_mnist_is_read_unzipped_under_the_names_that_programs_give_it(named, mnist_dir, tmp_path):
    place = unzipped(mnist_dir / "mnist", tmp_path / "own" / "mnist", named)
    assert data.load("mnist", tmp_path / "own").fingerprint == data.load("mnist", mnist_dir).fingerprint
    labels = place / named(FILES["train_labels"])
    _flip(labels)
    with pytest.raises(DataError, match=f"{labels.name} is damaged or not of mnist: its SHA-256 is not the published"):
        data.load("mnist", tmp_path / "own")


def test_other_data_of_which_no_checksum_is_known_unzipped_are_refused(tmp_path):
    place = tmp_path / "fashion_mnist"
    place.mkdir()
    for file in FILES.values():
        (place / file.removesuffix(".gz")).write_bytes(bytes((0, 0, 8, 3)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is unzipped, .*put those there"):
        data.load("fashion_mnist", tmp_path)


def unzipped(source, place, named):
    place.mkdir(parents=True)
    for file in FILES.values():
        content = (source / file).read_bytes()
        name = named(file)
        keep_zipped = named(FILES["train_labels"]) != FILES["train_labels"] and name == file
        (place / name).write_bytes(content if keep_zipped else gzip.decompress(content))
    return place


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ── other doors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_prepared_by_tensorflow_datasets_is_put_back_into_idx_order(tmp_path):
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    truth = {
        "train": rng.integers(0, 256, (50, 28, 28, 1), np.uint8),
        "test": rng.integers(0, 256, (21, 28, 28, 1), np.uint8),
    }

    class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.1")
        name = "mnist"

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
                )
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(images) for split, images in truth.items()}

        def _generate_examples(self, images):
            from io import BytesIO

            from PIL import Image

            for index, image in enumerate(images):  # keys are indices, as in the registered builder
                png = BytesIO()
                Image.fromarray(image[..., 0]).save(png, "PNG")
                png.seek(0)
                yield index, {"image": png, "label": index % 10}

    tfds.disable_progress_bar()
    Mnist(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    prepared = data.load("mnist", tmp_path)
    np.testing.assert_array_equal(prepared.train_images, truth["train"][..., 0])
    np.testing.assert_array_equal(prepared.test_images, truth["test"][..., 0])
    assert prepared.test_labels.tolist() == [i % 10 for i in range(21)]


@pytest.mark.slow
def test_digits_are_deterministic_disjoint_and_of_mnists_form():
    started = time.perf_counter()
    made = data.load("digits")
    assert time.perf_counter() - started < 60  # 5 s on a quiet machine
    assert made.train_images.shape == (60_000, 28, 28)
    assert made.test_images.shape == (10_000, 28, 28)
    assert np.bincount(made.train_labels).min() > 5_000
    assert made.train_images.max() == 255
    pixels = np.arange(28) - 13.5
    mass = made.test_images.astype(float)
    centre = np.stack([mass.sum(2) @ pixels, mass.sum(1) @ pixels], 1) / mass.sum((1, 2))[:, None]
    assert np.abs(centre.mean(0)).max() < 0.5
    assert np.abs(centre).max() < 4
    border = np.ones((28, 28), bool)
    border[2:-2, 2:-2] = False
    assert made.train_images[:, border].mean() < 0.01 * 255
    again = digits.make()
    assert all(np.array_equal(again[key], getattr(made, key)) for key in FILES)
    assert data.load("digits").fingerprint == made.fingerprint


@pytest.mark.slow
def test_digits_splits_come_from_disjoint_originals(monkeypatch):
    """With jitter switched off, the originals themselves come out."""
    monkeypatch.setattr(digits, "jitter", lambda images, rng: np.rint(images * 255).astype(np.uint8))
    made = digits.make()
    train, test = ({image.tobytes() for image in made[f"{split}_images"]} for split in ("train", "test"))
    assert len(train) + len(test) > 1_700
    assert not train & test


def test_auto_falls_back_with_a_reason_and_a_name_never_does(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    monkeypatch.setattr(published, "unreachable", lambda url: "no route in this test")
    fallen = data.load("auto", limit=60)
    assert fallen.name == "digits"
    assert "no route in this test" in fallen.note
    assert len(fallen.test_images) == 10
    for name in data.PUBLISHED:
        with pytest.raises(DataError, match="no route in this test"):
            data.load(name)
    (tmp_path / "empty" / "mnist").mkdir(parents=True)
    with pytest.raises(DataError, match="holds neither"):
        data.load("mnist", tmp_path / "empty")
    with pytest.raises(DataError, match="kmnist does not exist"):
        data.load("kmnist", tmp_path / "empty")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "mnist").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        data.load("mnist", tmp_path / "file")


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_mistyped_folder_is_an_error_and_no_reason_to_fall_back(tmp_path, name):
    with pytest.raises(DataError, match=r"nowhere does not exist; check data_dir"):
        data.load(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"~no-such-user/data cannot be resolved"):
        data.load(name, "~no-such-user/data")


def test_a_download_that_breaks_off_is_a_reason_to_fall_back(cache, monkeypatch):
    import requests
    import tensorflow_datasets as tfds

    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))

    def broken(*_):
        raise requests.ConnectionError("connection reset in this test")

    monkeypatch.setattr(published, "unreachable", lambda url: None)
    monkeypatch.setattr(tfds.download.DownloadManager, "download", broken)
    assert "connection reset in this test" in data.load("auto", limit=60).note
    with pytest.raises(DataError, match="connection reset in this test"):
        data.load("mnist")


def test_what_an_interrupted_preparation_left_is_passed_over(tmp_path):
    for version in ("incomplete.AB12_3.0.1", "3.0.1.bak"):
        left = tmp_path / "mnist" / version
        left.mkdir(parents=True)
        (left / "mnist-train.array_record-00000-of-00001").write_text("")
    with pytest.raises(DataError, match="holds neither"):
        data.load("mnist", tmp_path)


@pytest.mark.slow
def test_a_host_that_does_not_answer_is_noticed_within_five_seconds(monkeypatch):
    def hang(*_, **__):
        time.sleep(6)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.perf_counter()
    assert "no answer" in (published.unreachable("https://example.org/x") or "")
    assert time.perf_counter() - started < 5


def test_a_host_that_answers_is_reachable_also_through_a_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert published.unreachable(f"http://127.0.0.1:{port}/x") is None
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert published.unreachable("https://nowhere.invalid/x") is None
    assert published.unreachable(f"http://127.0.0.1:{port}/x")


def test_unknown_names_small_limits_and_unwritable_caches_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="unknown dataset 'cifar'"):
        data.load("cifar")
    with pytest.raises(DataError, match="at least 6"):
        data.load("digits", limit=5)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="JAXVAE_CACHE_DIR"):
        data.keep(dataset(), "origin")


def test_binarised_pixels_have_the_grey_level_for_probability():
    levels = np.repeat(np.arange(256, dtype=np.uint8), 784).reshape(256, 28, 28)
    images = np.concatenate([levels] * 40)
    dataset = Dataset("levels", images, np.zeros(len(images), np.uint8), levels, np.zeros(256, np.uint8))
    drawn = data.binarized(dataset, "static")
    assert set(np.unique(drawn.train_images)) == {0, 255}
    share = (drawn.train_images == 255).reshape(40, 256, 784).mean((0, 2))
    p = np.arange(256) / 255
    assert share[0] == 0
    assert share[255] == 1
    z = (share - p)[1:-1] / np.sqrt(p * (1 - p) / (40 * 784))[1:-1]
    assert np.abs(z).max() < 4.5
    assert z.std() == pytest.approx(1, abs=0.15)


def test_binarisation_is_drawn_once_and_by_place(small):
    static, dynamic = data.binarized(small, "static"), data.binarized(small, "dynamic")
    np.testing.assert_array_equal(static.test_images, dynamic.test_images)
    np.testing.assert_array_equal(dynamic.train_images, small.train_images)
    fewer = small._replace(train_images=small.train_images[:7], train_labels=small.train_labels[:7])
    np.testing.assert_array_equal(data.binarized(fewer, "static").train_images, static.train_images[:7])
    assert data.binarized(small, "none") is small
    twice = np.stack([small.train_images[0]] * 2)
    first, second = data.binarized(small._replace(train_images=twice), "static").train_images
    assert (first != second).any()  # images have draws of their own


def test_the_one_binarisation_stays_what_it_is():
    """Golden: published numbers depend on it. From this code on 2026-11-24, NumPy 2.4."""
    grey = np.full((2, 28, 28), 128, np.uint8)
    drawn = changes._draw(grey, np.arange(len(grey)), stream=1)
    assert (drawn == 255).sum((1, 2)).tolist() == [374, 401]
    assert "".join(str(v // 255) for v in drawn[0, 0]) == "1100100110001101110101110111"
