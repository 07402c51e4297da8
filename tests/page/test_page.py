"""The page in a real browser, over file://: used by pointer and keys, held against Python's numbers."""

import itertools
import json
import re

import numpy as np
import pytest

from benchmarks.browser import AXE, PHONE, Opened, browser, lacking
from jaxvae.page import report
from jaxvae.results import read_results
from tests.reported import CONV, EPOCHS, LINEAR, large
from tests.results.test_settings import grid, random_outcomes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]


@pytest.fixture(scope="module")
def chromium():
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def written(reported, small):
    """The page and the runs that it shows."""
    folder, runs = reported
    return report.write(read_results(folder), folder, runs, small), {run.config.name: run for run in runs}


@pytest.fixture
def opened(chromium, written):
    with Opened(chromium, written[0], reduced_motion="reduce") as opened:
        yield opened
        assert not opened.errors
        assert [url for url in opened.requests if not url.startswith("data:")] == [written[0].as_uri()]


def pixels(page):
    """The decoded picture as it is on the screen, [28, 28], and the code that it was decoded from."""
    page.wait_for_timeout(60)
    grey = "c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"
    picture = np.reshape(page.eval_on_selector("#decoded", grey), (28, 28))
    return picture, np.array(json.loads(page.get_attribute("#decoded", "data-code")))


def assert_python_decodes_the_same(page, run):
    picture, code = pixels(page)
    expected = np.asarray(run.decode(code[None]))[0]
    assert np.abs(picture / 255 - expected).max() <= 1 / 255
    return picture


def at(page, x, y):
    """Moves the pointer over the map; x and y from 0 to 1, from its upper left corner."""
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_every_section_is_there_and_nothing_is_asked_of_anyone(opened):
    page = opened.page
    found = page.eval_on_selector_all("section", "all => all.map(s => [s.id, s.getBoundingClientRect().height])")
    assert [name for name, _ in found] == [
        "trained", "claims", "runs", "losses", "reconstructions", "rate-distortion", "explorer", "load",
    ]  # fmt: skip
    assert all(height > 80 for _, height in found)
    links = page.eval_on_selector_all("nav a", "all => all.map(a => a.getAttribute('href').slice(1))")
    assert links == [name for name, _ in found]


def test_a_grids_bands_hold_its_lines(chromium, small, tmp_path):
    results = large(tmp_path, small, random_outcomes(grid((2, 5), (1.0, 4.0), (1e-3,), range(16))))
    with Opened(chromium, report.write(results, tmp_path)) as opened:
        page = opened.page
        for part in ("negative_elbo", "kl"):
            page.check(f"input[name=part][value={part}]", force=True)
            boxes = "all => all.map(p => { const b = p.getBBox(); return [b.y, b.y + b.height]; })"
            bands, lines = (page.eval_on_selector_all(f"#losses-plot path.{kind}", boxes) for kind in ("band", "curve"))
            assert len(bands) == len(lines) == 2
            for (top, bottom), (highest, lowest) in zip(bands, lines, strict=True):
                assert top - 0.1 <= highest <= lowest <= bottom + 0.1
        assert page.locator("table.sortable tbody tr").count() == 4
        assert not opened.errors


def test_a_page_without_models_works_too(chromium, written, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(report.page(read_results(written[0].parent), written[0].parent), encoding="utf-8")
    with Opened(chromium, path) as opened:
        assert opened.page.locator("#losses-plot path").count() == 2
        assert opened.page.locator("#explorer").count() == 0
        assert not opened.errors


def test_a_script_of_others_does_not_run(chromium, written, tmp_path):
    path = tmp_path / "page.html"
    evil = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    path.write_text(written[0].read_text(encoding="utf-8").replace("</main>", f"{evil}</main>"), encoding="utf-8")
    with Opened(chromium, path) as opened:
        assert "taken" not in opened.page.title()
        assert len([error for error in opened.errors if "Content Security Policy" in error]) >= 2


def test_headings_sort_the_table_both_ways(opened):
    page = opened.page

    def column(n):
        return page.eval_on_selector_all(f"#runs tbody tr > :nth-child({n})", "all => all.map(c => c.textContent)")

    assert column(1) == ["linear, d = 2", "conv, d = 3, bfloat16"]
    parameters = page.get_by_role("button", name="parameters")
    parameters.click()
    assert column(1) == ["conv, d = 3, bfloat16", "linear, d = 2"]  # 234,823 and 404,244
    assert page.locator("#runs th[aria-sort=ascending]").inner_text() == "parameters"
    parameters.focus()
    page.keyboard.press("Enter")
    assert column(1) == ["linear, d = 2", "conv, d = 3, bfloat16"]
    for _ in range(2):  # what is missing stays at the end
        page.get_by_role("button", name="log p(x)").click()
        assert [cell.strip() for cell in column(6)] == ["150.25 ± 0.50", "–"]


def test_losses_are_read_at_an_epoch_by_keys_and_pointer(opened, written):
    page = opened.page

    def quoted():
        cells = page.eval_on_selector_all("#losses-legend td", "all => all.map(c => c.textContent)")
        return [float(cell.replace(",", "").replace("−", "-")) for cell in cells]

    def expected(split, part, epoch):
        return pytest.approx([run.metrics[epoch][split][part] for run in written[1].values()], abs=0.006)

    assert quoted() == expected("test", "loss", EPOCHS)
    page.focus("#losses-plot")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#losses-epoch") == f"Epoch {EPOCHS - 1} of {EPOCHS}"
    assert quoted() == expected("test", "loss", EPOCHS - 1)
    page.locator("input[name=split][value=train]").check(force=True)
    page.get_by_role("radio", name="KL").check(force=True)
    assert quoted() == expected("train", "kl", EPOCHS - 1)
    box = page.locator("#losses-plot").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2)
    assert quoted() == expected("train", "kl", 1)

    def heights():
        paths = page.eval_on_selector_all("#losses-plot path", "all => all.map(p => p.getAttribute('d'))")
        return [[float(y) for y in re.findall(r",([\d.]+)", path)] for path in paths]

    page.get_by_role("radio", name="reconstruction").check(force=True)
    curves = [[entry["train"]["reconstruction"] for entry in run.metrics[1:]] for run in written[1].values()]
    for scale, function in (("linear", np.array), ("logarithmic", np.log)):
        page.get_by_role("radio", name=scale).check(force=True)
        drawn = np.concatenate(heights())
        assert abs(np.corrcoef(drawn, function(np.concatenate(curves)))[0, 1] + 1) < 1e-9  # higher is less far down


def test_the_epoch_slider_and_the_split_change_pictures(opened, written):
    page = opened.page
    strip = page.locator("#strips .strip").first
    last = strip.screenshot()
    slider = page.get_by_label("Epoch", exact=True)
    slider.focus()
    for _ in range(EPOCHS):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#epoch-shown") == "untrained"
    before = strip.screenshot()
    assert before != last
    assert "loss" in page.locator("#strips .loss").first.inner_text()
    page.keyboard.press("End")
    assert strip.screenshot() == last
    page.locator("input[name=pictures][value=train]").check(force=True)
    assert strip.screenshot() != last
    assert "train images reconstructed by linear, d = 2 after epoch 4" in strip.get_attribute("aria-label")


def test_playing_goes_through_the_epochs(chromium, written):
    with Opened(chromium, written[0]) as opened:
        page = opened.page
        page.get_by_role("button", name="Play the epochs").click()
        assert page.get_by_role("button", name="Pause").is_visible()
        seen = []
        while not seen or seen[-1] != EPOCHS:
            seen.append(int(page.locator("#epoch").input_value()))
            page.wait_for_timeout(50)
        assert seen == sorted(seen)
        assert len(set(seen)) > 2
        page.get_by_role("button", name="Play the epochs").wait_for()


@pytest.mark.parametrize("name", [LINEAR, CONV])
def test_pointer_and_keys_decode_what_python_decodes(name, opened, written):
    page, run = opened.page, written[1][name]
    page.select_option("#model", name)
    pictures = []
    for x, y in ((0.5, 0.5), (0.05, 0.1), (0.3, 0.8), (0.95, 0.95), (0.7, 0.4)):
        at(page, x, y)
        pictures.append(assert_python_decodes_the_same(page, run))
    page.focus("#map")
    for key in ("ArrowLeft", "Shift+ArrowUp", "ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
        pictures.append(assert_python_decodes_the_same(page, run))
    changed = [np.abs(a - b).max() for a, b in itertools.pairwise(pictures)]
    assert min(changed) > 0
    assert max(changed) > 64  # a quarter of the greys: other pictures, not a flicker


def test_arrow_keys_move_along_the_axes(opened):
    page = opened.page
    _, start = pixels(page)
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    _, right = pixels(page)
    page.keyboard.press("ArrowUp")
    _, up = pixels(page)
    assert right[0] > start[0]
    assert right[1] == start[1]
    assert up[0] == right[0]
    assert up[1] > right[1]


def test_sliders_stand_by_kl_and_each_moves_its_own_dimension(opened, written):
    page, run = opened.page, written[1][CONV]
    assert not page.is_visible("#dimensions")
    page.select_option("#model", CONV)
    labels = page.eval_on_selector_all("#sliders label", "all => all.map(l => l.firstChild.textContent)")
    kls = [float(re.search(r"KL ([\d.]+)", label)[1]) for label in labels]
    assert kls == sorted(kls, reverse=True)
    order = [int(re.search(r"z(\d)", label)[1]) - 1 for label in labels]
    assert sorted(order) == [0, 1, 2]
    _, before = pixels(page)
    page.locator("#sliders input").first.fill("1.5")
    _, after = pixels(page)
    expected = before.copy()
    expected[order[0]] = 1.5
    np.testing.assert_allclose(after, expected, atol=1e-9)
    assert_python_decodes_the_same(page, run)
    assert "off the plane" in page.inner_text("#where")
    page.get_by_role("button", name="Back onto the plane").click()
    pixels(page)
    assert "off the plane" not in page.inner_text("#where")


def choose(page, x, y):
    """Enter on the map at a place; returns the number of the test image that it found."""
    at(page, x, y)
    page.focus("#map")
    page.keyboard.press("Enter")
    page.wait_for_timeout(60)
    return int(re.search(r"Test image (\d+)", page.inner_text("#choice-title"))[1])


def thumbnails(page, row):
    grey = "all => all.map(c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0))"
    return [np.reshape(found, (28, 28)) for found in page.eval_on_selector_all(f"#{row} canvas", grey)]


@pytest.mark.parametrize("name", [LINEAR, CONV])
def test_a_chosen_image_has_its_reconstruction_and_its_neighbours(name, opened, written, small):
    page, run = opened.page, written[1][name]
    page.select_option("#model", name)
    i = choose(page, 0.3, 0.6)
    codes = np.asarray(run.encode(small.test_images).mean, np.float64)
    _, code = pixels(page)
    np.testing.assert_allclose(code, codes[i], atol=2e-3)
    original, reconstruction = thumbnails(page, "choice-images")
    np.testing.assert_array_equal(original, small.test_images[i])
    assert np.abs(reconstruction / 255 - np.asarray(run.reconstruct(small.test_images[i : i + 1]))[0]).max() < 0.01
    distances = np.linalg.norm(codes - codes[i], axis=1)
    nearest = np.argsort(distances)[1:7]
    captions = page.eval_on_selector_all("#neighbours figcaption", "all => all.map(c => c.textContent)")
    captioned = [float(caption.split(", ")[1]) for caption in captions]
    np.testing.assert_allclose(captioned, distances[nearest], atol=0.01)
    assert [int(caption[2]) for caption in captions] == small.test_labels[nearest].tolist()
    for picture, near in zip(thumbnails(page, "neighbours"), nearest, strict=True):
        np.testing.assert_array_equal(picture, small.test_images[near])


@pytest.mark.parametrize("name", [LINEAR, CONV])
def test_the_ellipse_is_two_standard_deviations_of_the_posterior(name, opened, written, small):
    """Its bounding box on the map, measured in white pixels, against the projected covariance."""
    from jaxvae.page.explorer import plane

    page, run = opened.page, written[1][name]
    page.select_option("#model", name)
    page.get_by_label("decoded map").uncheck()
    q = run.encode(small.test_images)
    mean, std = np.asarray(q.mean, np.float64), np.exp(np.asarray(q.log_std, np.float64))
    centre, axes = plane(mean, np.log(std))
    i = choose(page, 0.5, 0.5)
    page.get_by_role("button", name="none").click()
    page.focus("#map")
    for _ in range(14):  # the cross out of the way
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowUp")
    page.wait_for_timeout(100)
    white = """c => { const {width, height} = c, data = c.getContext('2d').getImageData(0, 0, width, height).data;
        const found = []; for (let p = 0; p < width * height; p++)
        if (Math.min(...data.slice(4 * p, 4 * p + 4)) > 250) found.push([p % width, Math.floor(p / width)]);
        return {width, found}; }"""
    marks = page.eval_on_selector("#map", white)
    found = np.array(marks["found"])
    found = found[(found > 40).any(1)]
    reach = 1.05 * max(2.5, np.abs((mean - centre) @ axes.T).max())
    scale = marks["width"] / (2 * reach)
    covariance = axes @ np.diag(std[i] ** 2) @ axes.T
    spread = np.sqrt(np.diag(covariance))
    expected = 2 * 2 * spread * scale
    np.testing.assert_allclose(np.ptp(found, axis=0), expected, atol=4)  # a line is two pixels wide
    place = (mean[i] - centre) @ axes.T
    middle = [(place[0] + reach) * scale, (reach - place[1]) * scale]
    np.testing.assert_allclose((found.min(0) + found.max(0)) / 2, middle, atol=2)
    tilt = -covariance[0, 1] / np.prod(spread)  # pixels count downwards
    assert name == LINEAR or abs(tilt) > 0.15
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(tilt, abs=0.12)


def test_two_chosen_images_are_joined_by_a_walk(opened, written, small):
    page, run = opened.page, written[1][CONV]
    page.select_option("#model", CONV)
    a = choose(page, 0.15, 0.5)
    b = choose(page, 0.85, 0.5)
    assert a != b
    codes = np.asarray(run.encode(small.test_images).mean, np.float64)
    assert len(thumbnails(page, "walk-images")) == 7
    page.locator("#walk-at").fill("0.25")
    _, code = pixels(page)
    np.testing.assert_allclose(code, codes[a] + 0.25 * (codes[b] - codes[a]), atol=2e-3)
    assert_python_decodes_the_same(page, run)
    middle = np.asarray(run.decode((codes[[a]] + codes[[b]]) / 2))[0]
    assert np.abs(thumbnails(page, "walk-images")[3] / 255 - middle).max() < 0.01
    page.focus("#map")
    page.keyboard.press("Escape")
    assert not page.is_visible("#walk")
    assert not page.is_visible("#choice")


def test_a_walk_moves_by_itself_where_motion_is_welcome(chromium, written):
    with Opened(chromium, written[0]) as opened:
        page = opened.page
        choose(page, 0.15, 0.5)
        choose(page, 0.85, 0.5)
        shares = []
        while not shares or shares[-1] < 1:
            page.wait_for_timeout(100)
            shares.append(float(page.locator("#walk-at").input_value()))
        assert len(set(shares)) > 5
        assert shares == sorted(shares)
        assert not opened.errors


def test_clicking_a_point_chooses_it_and_hidden_classes_have_none(opened, written, small):
    page, run = opened.page, written[1][LINEAR]
    mean = np.asarray(run.encode(small.test_images).mean, np.float64)
    reach = 1.05 * max(2.5, np.abs(mean).max())
    i = int(np.argmax(np.abs(mean).sum(1)))
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    place = (mean[i, 0] + reach) / (2 * reach), (reach - mean[i, 1]) / (2 * reach)
    spot = {"x": place[0] * box["width"], "y": place[1] * box["height"]}
    page.get_by_role("button", name="none").click()
    page.locator("#map").click(position=spot)
    assert not page.is_visible("#choice")
    assert "nearest" not in page.inner_text("#where")
    page.get_by_role("button", name=f"Class {small.test_labels[i]}").click()
    page.locator("#map").click(position=spot)
    assert f"Test image {i}," in page.inner_text("#choice-title")
    captions = page.eval_on_selector_all("#neighbours figcaption", "all => all.map(c => c.textContent)")
    assert captions
    assert {int(caption[2]) for caption in captions} == {small.test_labels[i]}
    page.get_by_role("button", name="Clear the choice").click()
    assert not page.is_visible("#choice")


def test_the_decoded_map_is_decoded_at_the_middle_of_its_tiles(opened, written, small):
    """The upper left tile, at 45 % of its brightness and enlarged: its middle, where no line of the grid is."""
    page, run = opened.page, written[1][LINEAR]
    page.get_by_role("button", name="none").click()
    page.wait_for_timeout(800)
    ground = page.eval_on_selector(
        "#map", "c => { const s = Math.floor(c.width / 14); return [c.width, ...c.getContext('2d')"
        ".getImageData(0, c.height - s, s, s).data]; }",
    )  # fmt: skip
    side = ground[0] // 14
    tile = np.reshape(ground[1:], (side, side, 4))[:, :, 0].astype(float)
    alpha = np.reshape(ground[1:], (side, side, 4))[:, :, 3] / 255
    mean = np.asarray(run.encode(small.test_images).mean, np.float64)
    reach = 1.05 * max(2.5, np.abs(mean).max())
    corner = (1 / 14 - 1) * reach
    quoted = np.asarray(run.decode([[corner, corner]]))[0]
    others = [np.asarray(run.decode([z]))[0] for z in ([corner, -corner], [-corner, corner], [-corner, -corner])]
    rows = (np.arange(side) + 0.5) * 28 / side
    enlarged = [picture[np.ix_(rows.astype(int), rows.astype(int))] for picture in (quoted, *others)]
    likeness = [np.corrcoef((tile * alpha).ravel(), picture.ravel())[0, 1] for picture in enlarged]
    assert likeness[0] > 0.9
    assert likeness[0] > max(likeness[1:]) + 0.05


def test_the_map_follows_a_slider_even_if_the_pointer_moves_in_the_same_frame(opened, written):
    page = opened.page
    page.select_option("#model", CONV)
    page.get_by_role("button", name="none").click()
    page.wait_for_timeout(1500)
    picture = "() => document.getElementById('map').toDataURL()"
    before = page.evaluate(picture)
    page.evaluate("""() => {
        const slider = document.querySelector("#sliders input"), map = document.getElementById("map");
        const box = map.getBoundingClientRect();
        const middle = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
        slider.value = 2; slider.dispatchEvent(new Event("input"));
        map.dispatchEvent(new PointerEvent("pointermove", middle));
    }""")
    page.wait_for_timeout(1500)
    both = page.evaluate(picture)
    assert both != before
    thumb, written_value = page.eval_on_selector(
        "#sliders label", "l => [Number(l.querySelector('input').value), l.querySelector('output').textContent]"
    )
    assert thumb == pytest.approx(float(written_value.replace("−", "-")), abs=0.01)
    page.get_by_role("button", name="Back onto the plane").click()
    page.wait_for_timeout(1500)
    assert page.evaluate(picture) != both


def test_a_chosen_image_stays_chosen_in_another_model(opened, written, small):
    page = opened.page
    i = choose(page, 0.4, 0.6)
    page.select_option("#model", CONV)
    assert f"Test image {i}," in page.inner_text("#choice-title")
    _, code = pixels(page)
    np.testing.assert_allclose(code, np.asarray(written[1][CONV].encode(small.test_images).mean)[i], atol=2e-3)


def test_what_the_reader_does_ends_a_walk(chromium, written):
    with Opened(chromium, written[0]) as opened:
        page = opened.page
        page.select_option("#model", CONV)
        choose(page, 0.15, 0.5)
        choose(page, 0.85, 0.5)
        page.mouse.move(2, 2)
        page.wait_for_timeout(200)
        slider = page.locator("#sliders input").first
        slider.fill("2")
        page.wait_for_timeout(500)
        assert float(slider.input_value()) == 2
        assert page.get_by_role("button", name="Walk").is_visible()


def test_a_log_scale_without_positive_values_draws_empty_axes(chromium, written, tmp_path):
    path = tmp_path / "page.html"
    text = written[0].read_text(encoding="utf-8")
    path.write_text(re.sub(r'"kl":\[[^\]]*\]', '"kl":[0,0,0,0]', text), encoding="utf-8")
    with Opened(chromium, path) as opened:
        page = opened.page
        page.get_by_role("radio", name="KL").check(force=True)
        page.get_by_role("radio", name="logarithmic").check(force=True)
        assert page.locator("#losses-plot text").count() > 3
        assert not opened.errors


def test_a_finger_decodes_too(chromium, written):
    with Opened(chromium, written[0], viewport=PHONE, touch=True, reduced_motion="reduce") as opened:
        page = opened.page
        page.locator("#map").scroll_into_view_if_needed()
        before, _ = pixels(page)
        box = page.locator("#map").bounding_box()
        page.touchscreen.tap(box["x"] + 0.1 * box["width"], box["y"] + 0.2 * box["height"])
        after, code = pixels(page)
        assert (after != before).any()
        assert code[0] < 0 < code[1]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert not opened.errors


def test_the_theme_follows_the_system_and_the_button(opened):
    page = opened.page

    def ground():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ground() == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != "rgb(255, 255, 255)"
    page.get_by_role("button", name="Switch between light and dark").click()
    assert ground() == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert ground() == dark


def test_print_leaves_out_what_cannot_be_pressed(opened):
    page = opened.page
    page.emulate_media(media="print")
    for part in ("nav", "#play", "#theme", "button.copy"):
        assert not page.locator(part).first.is_visible()
    for part in ("#losses-plot", "#strips", "#runs table"):
        assert page.locator(part).first.is_visible()


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: (cd benchmarks/browser-tools && npm ci)")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(theme, chromium, written):
    with Opened(chromium, written[0], theme=theme, reduced_motion="reduce", bypass_csp=True) as opened:
        page = opened.page
        page.select_option("#model", CONV)
        choose(page, 0.15, 0.5)
        choose(page, 0.85, 0.5)
        for summary in page.locator("summary:visible").all():
            summary.click()
        page.get_by_role("button", name="Class 3").click()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")
        violations = [(v["id"], [node["html"][:120] for node in v["nodes"]][:3]) for v in found["violations"]]
        assert not violations
        assert {"color-contrast", "label"} <= {rule["id"] for rule in found["passes"]}
