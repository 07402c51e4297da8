import io

import numpy as np
from PIL import Image

from jaxvae.figures import animation


def frames(animation):
    image = Image.open(io.BytesIO(animation))
    assert image.format == "WEBP"
    content = []
    for i in range(image.n_frames):
        image.seek(i)
        content.append((np.asarray(image.convert("L")).astype(float), image.info["duration"]))
    return content


def test_evolution_has_a_frame_an_epoch_and_models_that_end_early_stay():
    originals = np.full((3, 28, 28), 255, np.uint8)
    long = np.stack([np.full((3, 28, 28), grey, np.uint8) for grey in (0, 120, 240)])
    read = frames(animation.evolution(originals, [("long", long), ("short", long[:2])], "title"))
    assert [duration for _, duration in read] == [350, 350, 2000]
    side, x = animation.SMALL, animation._width("original") + 20
    rows = [animation.LINE + i * (side + animation.GAP) + side // 2 for i in range(3)]
    greys = [[frame[y, x] for y in rows] for frame, _ in read]
    np.testing.assert_allclose(greys, [[255, 0, 0], [255, 120, 120], [255, 240, 120]], atol=6)


def test_a_walk_shows_all_models_in_step():
    way = np.arange(0, 250, 50, dtype=np.uint8)[:, None, None] + np.zeros((5, 28, 28), np.uint8)
    read = frames(animation.walk([(f"model {i}", way[::sign]) for i, sign in enumerate((1, -1))], "title"))
    width = max(animation.LARGE, animation._width("model 0")) + 2 * animation.GAP
    y = 2 * animation.LINE + animation.GAP + 50
    greys = [[frame[y, width // 2], frame[y, width + width // 2]] for frame, _ in read]
    np.testing.assert_allclose(greys, [[0, 200], [50, 150], [100, 100], [150, 50], [200, 0]], atol=6)


def test_a_picture_is_as_wide_as_its_title_and_its_names():
    way = np.zeros((2, 28, 28), np.uint8)
    narrow, wide = (frames(animation.walk([("conv, d = 2", way)], title))[0][0] for title in ("x", "x" * 80))
    assert wide.shape[1] == animation._width("x" * 80) > narrow.shape[1]
    last_letter = wide[: animation.LINE, -animation.MARGIN - 8 : -animation.MARGIN]
    assert last_letter.max() > 150


def test_text_is_written_in_a_font_that_has_its_letters():
    missing = animation._text("\ue000", 60)
    for character in "–β=é":
        assert not np.array_equal(animation._text(character, 60), missing)


def test_frames_are_equally_large_whatever_their_titles():
    originals, models = np.zeros((1, 4, 4), np.uint8), [("m", np.zeros((11, 1, 4, 4), np.uint8))]
    read = frames(animation.evolution(originals, models, "a dataset's name of some sixty characters, to be sure of it"))
    assert len({frame.shape for frame, _ in read}) == 1
    assert len(read) == 11
