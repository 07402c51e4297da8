// Beside and below the map: small pictures with captions, sliders of dimensions, classes to be switched on or off.

const UNUSED = 0.01; // nats of KL, below which a dimension says nothing of the image

/** A picture of the data's size and its caption; `draw` fills its context. */
function thumbnail(caption, draw) {
  const { width, height } = data.explorer;
  const canvas = element("canvas", { width, height, role: "img", "aria-label": caption });
  draw(canvas.getContext("2d"));
  return element("figure", {}, canvas, element("figcaption", {}, caption));
}

/** Fills the page's sliders, one for each dimension of a space, the most informative first; none for a plane.
 *  `move(j, value, input)` is called when the reader moves one. Returns [{input, output, j}]. */
function dimensionSliders(plane, kl, move) {
  const range = Math.ceil(plane.means.reduce((most, value) => Math.max(most, Math.abs(value)), plane.reach));
  const order = plane.d < 3 ? [] : kl.map((_, j) => j).sort((a, b) => kl[b] - kl[a]);
  const sliders = order.map((j) => {
    const name = `z${j + 1}, KL ${number(kl[j])}`;
    const input = element("input", { type: "range", min: -range, max: range, step: 0.01, "aria-label": name });
    const output = element("output", { "aria-hidden": "true" });
    input.addEventListener("input", () => move(j, Number(input.value), input));
    return { label: element("label", {}, name, input, output), input, output, j };
  });
  const used = sliders.filter(({ j }) => kl[j] >= UNUSED);
  const unused = sliders.slice(used.length);
  const folded = byId("unused");
  byId("dimensions").hidden = !sliders.length;
  byId("sliders").replaceChildren(...used.map(({ label }) => label));
  folded.hidden = !unused.length;
  folded.open = !used.length;
  folded.firstElementChild.textContent = `${unused.length} with a KL below ${UNUSED} nats: they say nothing of the ${data.words.example}`;
  folded.lastElementChild.replaceChildren(...unused.map(({ label }) => label));
  return sliders;
}

/** Fills the page's buttons for classes; `change` is called with the set of those that are on. */
function classChips(classes, names, change) {
  if (!classes.length) return; // data without labels
  const pressed = (chip) => chip.getAttribute("aria-pressed") === "true";
  const press = (chip, on) => chip.setAttribute("aria-pressed", String(on));
  const tell = () => change(new Set(classes.filter((_, k) => pressed(chips[k]))));
  const chips = classes.map((label) => {
    const dot = element("i");
    dot.style.background = COLOURS[label % COLOURS.length];
    const chip = element("button", { type: "button", "aria-pressed": "true", "aria-label": `Class ${names[label] ?? label}` }, dot, names[label] ?? String(label));
    chip.addEventListener("click", () => {
      press(chip, !pressed(chip));
      tell();
    });
    return chip;
  });
  const whole = ["all", "none"].map((word) => {
    const button = element("button", { type: "button" }, word);
    button.addEventListener("click", () => {
      for (const chip of chips) press(chip, word === "all");
      tell();
    });
    return button;
  });
  byId("classes").append(...chips, ...whole);
}

/** Offers the classes that a model can be given; none for a model without a condition. */
function givenClasses(count, names, given) {
  const options = Array.from({ length: count }, (_, label) => element("option", { value: label }, names[label] ?? String(label)));
  byId("given").replaceChildren(...options);
  byId("given").value = given;
  byId("given").parentElement.hidden = !count;
}

/** What the map shows of a run, in a sentence. */
function mapNote({ about, shares, decoder }, plane, of) {
  const decoded = decoder.tiles ? " This page cannot run its decoder: pictures were decoded beforehand for places of this map, and others are between them." : "";
  const percent = (share) => `${Math.round(100 * share)} %`;
  const ellipses = "; ellipses are one and two standard deviations of q(z|x)";
  const hidden = percent(1 - shares[0] - shares[1]);
  const along =
    plane.d > 2
      ? `the first two principal axes of the aggregate posterior (${shares.map(percent).join(" and ")} of the means’ variance; ${hidden} lies in directions that the map does not show)${ellipses}`
      : plane.d > 1
        ? `the two latent dimensions${ellipses}`
        : "the latent dimension";
  return `${about}: ${number(plane.n, 0)} of ${number(of, 0)} test ${data.words.example}s at their posterior means, over ${along}.${decoded}`;
}
