// The latent explorer: where one is, what is chosen, and everything that follows from it.

const UNUSED = 0.01; // nats

function explorer({ runs, labels, classes, columns, sprite, of }) {
  const view = new MapView(byId("map"), labels);
  const originals = new Image();
  const state = { cursor: [0, 0], rest: [], classes: new Set(classes), chosen: [], tiles: byId("tiles").checked };
  let decode, plane, code, run, stopWalk, dragged, tilesStale, stopFrame = () => {};
  const screen = byId("decoded").getContext("2d");
  const mirrors = [...document.querySelectorAll("canvas.mirror")].map((canvas) => canvas.getContext("2d"));

  // ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Goes to a place of the plane, as far off it as before. */
  const goTo = (place, spoken) => settle(place.map((value) => Math.max(-plane.reach, Math.min(plane.reach, value))), state.rest, spoken);

  /** Goes to a code. */
  const jumpTo = (target, spoken, from) => settle(plane.project(target), plane.rest(target), spoken, from);

  function settle(cursor, rest, spoken = false, from = undefined) {
    dragged = from; // a slider, whose thumb is where the reader has it
    // stays so until a frame has seen it: another settling may come before
    tilesStale ||= rest.some((value, j) => Math.abs(value - (state.rest[j] ?? 0)) > 1e-9);
    Object.assign(state, { cursor, rest });
    code = plane.at(cursor, rest);
    byId("where").setAttribute("aria-live", spoken ? "polite" : "off"); // a pointer would never let it finish
    stopFrame();
    stopFrame = animate(() => {
      timed("frame", show);
      if (tilesStale && state.tiles) decodeTiles();
      return false;
    });
  }

  function show() {
    paint(screen, decode(code));
    screen.canvas.dataset.code = JSON.stringify(code);
    redraw();
    const [near] = plane.nearest(code, 1, (i) => state.classes.has(labels[i]));
    const off = Math.hypot(...state.rest);
    byId("onto-plane").hidden = off < 0.005;
    const names = plane.d > 2 ? ["axis 1", "axis 2"] : ["z₁", "z₂"];
    const places = names.slice(0, plane.d).map((name, k) => `${name} = ${number(state.cursor[k])}`);
    if (off > 0.005) places.push(`${number(off)} off the plane`);
    byId("where").textContent = places.join(", ") + (!near || near.distance < 0.005 ? "" : `; nearest test image${plane.d > 2 ? ` in all ${plane.d} dimensions` : ""}: a ${labels[near.i]}, ${number(near.distance)} away`);
    for (const { input, output, j } of sliders) {
      if (input !== dragged) input.value = code[j];
      output.textContent = number(code[j]);
    }
    for (const mirror of mirrors) mirror.drawImage(screen.canvas, 0, 0);
  }

  const redraw = () => view.draw(state);
  function decodeTiles() {
    tilesStale = false;
    view.decodeTiles(decode, state.rest, redraw);
  }

  // ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────

  function choose(i) {
    state.chosen = state.chosen.length === 1 && state.chosen[0] !== i ? [...state.chosen, i] : [i];
    stopWalk?.();
    jumpTo(plane.code(i), true);
    byId("walk-at").value = 1;
    tell();
    if (state.chosen.length === 2 && !calm.matches) walk();
  }

  function letGo() {
    stopWalk?.();
    state.chosen = [];
    tell();
    settle(state.cursor, Array(plane.d).fill(0));
  }

  function tell() {
    const [a, b] = state.chosen;
    for (const part of ["chosen", "let-go"]) byId(part).hidden = a === undefined;
    byId("nothing-chosen").hidden = a !== undefined;
    byId("walk").hidden = b === undefined;
    if (a === undefined) return;
    const i = b ?? a;
    byId("chosen-title").textContent = `Test image ${i}, a ${labels[i]}`;
    byId("chosen-images").replaceChildren(original(i, "original"), decoded(plane.code(i), "reconstruction"));
    const neighbours = plane.nearest(plane.code(i), 6, (other) => other !== i && shown(other));
    byId("neighbours").replaceChildren(...neighbours.map(({ i: other, distance }) => original(other, `a ${labels[other]}, ${number(distance)}`)));
    if (b === undefined) return;
    byId("walk-title").textContent = `From the ${labels[a]} to the ${labels[b]}`;
    byId("walk-images").replaceChildren(...[0, 1, 2, 3, 4, 5, 6].map((k) => decoded(between(k / 6), `${number(k / 6, 2)}`)));
  }

  function thumbnail(caption) {
    const canvas = element("canvas", { width: 28, height: 28, role: "img", "aria-label": caption });
    return [element("figure", {}, canvas, element("figcaption", {}, caption)), canvas.getContext("2d")];
  }

  function original(i, caption) {
    const [figure, context] = thumbnail(caption);
    context.drawImage(originals, 28 * (i % columns), 28 * Math.floor(i / columns), 28, 28, 0, 0, 28, 28);
    return figure;
  }

  function decoded(at, caption) {
    const [figure, context] = thumbnail(caption);
    paint(context, decode(at));
    return figure;
  }

  function between(share) {
    const [from, to] = state.chosen.map((i) => plane.code(i));
    return from.map((value, j) => value + share * (to[j] - value));
  }

  function walk() {
    const [slider, button] = [byId("walk-at"), byId("walk-play")];
    stopWalk?.();
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "Stop walking");
    const stop = animate((elapsed) => {
      const share = Math.min(1, elapsed / 2500);
      slider.value = share;
      jumpTo(between(share));
      if (share < 1) return true;
      stopWalk();
      return false;
    });
    stopWalk = () => {
      stop();
      stopWalk = undefined;
      button.textContent = "▶";
      button.setAttribute("aria-label", "Walk");
    };
  }

  // ── a model ─────────────────────────────────────────────────────────────────────────────────────────────────────

  let sliders = [];
  function open(name) {
    stopWalk?.();
    run = runs.find((candidate) => candidate.name === name);
    plane = view.plane = new Plane(run);
    const logits = decoder(run.decoder);
    decode = (at) => timed("decode", () => logits(at));
    const shares = run.shares.map((share) => `${Math.round(100 * share)} %`);
    const rest = Math.round(100 * (1 - run.shares[0] - run.shares[1]));
    const axis = plane.d > 2 ? "the first two principal axes of the aggregate posterior" : "the two latent dimensions";
    byId("explorer-note").textContent =
      `${run.about}: ${number(plane.n, 0)} of ${number(of, 0)} test images at their posterior means, over ` +
      (plane.d > 1 ? `${axis}${plane.d > 2 ? ` (${shares.join(" and ")} of the means’ variance; ${rest} % lies in directions that the map does not show)` : ""}; ellipses are one and two standard deviations of q(z|x).` : "the latent dimension.");
    const order = run.kl.map((kl, j) => ({ kl, j })).sort((a, b) => b.kl - a.kl);
    byId("dimensions").hidden = plane.d < 3;
    sliders = plane.d < 3 ? [] : order.map(({ kl, j }) => slider(kl, j));
    const used = sliders.filter(({ kl }) => kl >= UNUSED);
    const unused = sliders.slice(used.length);
    byId("sliders").replaceChildren(...used.map(({ label }) => label));
    byId("unused").hidden = !unused.length;
    byId("unused").open = !used.length;
    byId("unused").firstElementChild.textContent = `${unused.length} with a KL below ${UNUSED} nats: they say nothing of the image`;
    byId("unused").lastElementChild.replaceChildren(...unused.map(({ label }) => label));
    view.fit();
    view.clearTiles();
    const [a, b] = state.chosen; // stays chosen: another model of the same image
    if (a === undefined) settle([0, 0], Array(plane.d).fill(0));
    else jumpTo(plane.code(b ?? a));
    tell();
    if (state.tiles) decodeTiles();
  }

  function slider(kl, j) {
    const range = Math.ceil(plane.means.reduce((most, value) => Math.max(most, Math.abs(value)), plane.reach));
    const name = `z${j + 1}, KL ${number(kl)}`;
    const input = element("input", { type: "range", min: -range, max: range, step: 0.01, "aria-label": name });
    const output = element("output", { "aria-hidden": "true" });
    const label = element("label", {}, name, input, output);
    input.addEventListener("input", () => {
      stopWalk?.();
      jumpTo(code.map((value, k) => (k === j ? Number(input.value) : value)), false, input);
    });
    return { label, input, output, kl, j };
  }

  // ── hands ───────────────────────────────────────────────────────────────────────────────────────────────────────

  const map = byId("map");
  const shown = (i) => state.classes.has(labels[i]);
  map.addEventListener("pointermove", (event) => {
    if (stopWalk) return;
    goTo(view.under(event));
  });
  map.addEventListener("pointerleave", () => {
    if (stopWalk || !state.chosen.length) return;
    jumpTo(state.chosen.length > 1 ? between(Number(byId("walk-at").value)) : plane.code(state.chosen[0]));
  });
  map.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return;
    stopWalk?.();
    goTo(view.under(event));
  });
  /** The shown dot that is nearest on the map, and how far it is there. */
  function nearestDot([u, v]) {
    const distances = plane.points.map(([x, y], i) => (shown(i) ? Math.hypot(x - u, y - v) : Infinity));
    const distance = Math.min(...distances);
    return { i: distances.indexOf(distance), distance };
  }

  map.addEventListener("click", (event) => {
    const within = ((event.pointerType === "mouse" ? 10 : 22) / map.clientWidth) * 2 * plane.reach;
    const { i, distance } = nearestDot(view.under(event));
    if (distance <= within) choose(i);
  });
  map.addEventListener("keydown", (event) => {
    const step = (event.shiftKey ? 0.15 : 0.03) * plane.reach;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (move) stopWalk?.();
    if (move) goTo(state.cursor.map((value, k) => value + move[k]), true);
    else if (event.key === "Enter" || event.key === " ") {
      const { i, distance } = nearestDot(state.cursor);
      if (distance < Infinity) choose(i);
    } else return;
    event.preventDefault();
  });
  byId("explorer").addEventListener("keydown", (event) => event.key === "Escape" && letGo());
  byId("let-go").addEventListener("click", letGo);
  byId("model").addEventListener("change", (event) => open(event.target.value));
  byId("tiles").addEventListener("change", (event) => {
    state.tiles = event.target.checked;
    if (state.tiles) decodeTiles();
    redraw();
  });
  byId("onto-plane").addEventListener("click", () => {
    stopWalk?.();
    settle(state.cursor, Array(plane.d).fill(0));
  });
  byId("walk-at").addEventListener("input", (event) => {
    stopWalk?.();
    jumpTo(between(Number(event.target.value)));
  });
  byId("walk-play").addEventListener("click", () => (stopWalk ? stopWalk() : walk()));
  const chips = new Map();
  for (const label of classes) {
    const dot = element("i");
    dot.style.background = COLOURS[label % 10];
    const chip = element("button", { type: "button", "aria-pressed": "true", "aria-label": `Class ${label}` }, dot, String(label));
    chip.addEventListener("click", () => showOnly(classes.filter((other) => state.classes.has(other) !== (other === label))));
    chips.set(label, chip);
    byId("classes").append(chip);
  }
  for (const [words, choice] of [["all", classes], ["none", []]]) {
    const button = element("button", { type: "button" }, words);
    button.addEventListener("click", () => showOnly(choice));
    byId("classes").append(button);
  }
  function showOnly(choice) {
    state.classes = new Set(choice);
    for (const [label, chip] of chips) chip.setAttribute("aria-pressed", String(state.classes.has(label)));
    tell();
    show();
  }
  new ResizeObserver(() => {
    view.fit();
    redraw();
  }).observe(map);
  originals.src = `data:image/png;base64,${sprite}`;
  originals.decode().then(tell);
  open(byId("model").value); // a browser may have kept another than the first
}

if (data.explorer) explorer(data.explorer);
