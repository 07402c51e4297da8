// The latent explorer: where one is, which images are selected, and everything that follows from it.

const WALK = 2500; // ms from one selected image to the other
const { example } = data.words; // what examples of the data are called

class Explorer {
  constructor({ runs, labels, names, shades, classes, columns, sprite, of }) {
    Object.assign(this, { runs, labels, names, columns, of }); // labels are null where the data have no classes
    this.classes = new Set(classes); // that are switched on
    this.selection = []; // test images: none, one, or the two ends of a walk
    this.cursor = [0, 0]; // the place in the plane, and
    this.rest = []; // how far off it the code is, a vector
    this.given = 0; // the class that a model with a condition is given
    this.view = new MapView(byId("map"), labels, shades);
    this.screen = byId("decoded").getContext("2d");
    this.mirrors = [...document.querySelectorAll("canvas.mirror")].map((canvas) => canvas.getContext("2d"));
    this.originals = new Image();
    this.originals.src = `data:image/png;base64,${sprite}`;
    this.originals.decode().then(() => this.describe());
    this.stopFrame = this.stopWalk = () => {};
    this.walking = false;
    classChips(classes, names, (on) => this.showClasses(on));
    this.listen();
    this.open(byId("model").value); // a browser may remember another than the first
  }

  open(name) {
    this.stopWalk();
    const run = this.runs.find((candidate) => candidate.name === name);
    this.plane = this.view.plane = new Plane(run);
    const picture = decoder(run, this.plane);
    this.decode = (code, given = this.given) => timed("decode", () => picture(code, given));
    this.conditional = run.decoder.classes > 0;
    givenClasses(this.conditional ? run.decoder.classes : 0, this.names, this.given);
    this.sliders = dimensionSliders(this.plane, run.decoder.tiles ? [] : run.kl, (j, value, input) => {
      this.stopWalk();
      this.jumpTo(this.code.with(j, value), { from: input });
    });
    byId("explorer-note").textContent = mapNote(run, this.plane, this.of);
    this.view.fit();
    this.view.clearTiles();
    const last = this.selection.at(-1); // stays selected: another model of the same image
    if (last === undefined) this.settle([0, 0], this.plane.zeros());
    else this.jumpTo(this.plane.code(last));
    this.describe();
    this.tilesStale = true; // for the frame to come
  }

  /** Decodes from now on as this class. */
  giveClass(given) {
    if (!this.conditional || given === this.given) return;
    byId("given").value = this.given = given;
    this.tilesStale = true;
    this.view.clearTiles();
    this.jumpTo(this.code);
    this.describe();
  }

  // ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Goes to a place of the plane, as far off it as before. */
  goTo(place, how) {
    const { reach } = this.plane;
    this.settle(place.map((value) => Math.max(-reach, Math.min(reach, value))), this.rest, how);
  }

  /** Goes to a code. */
  jumpTo(code, how) {
    this.settle(this.plane.project(code), this.plane.rest(code), how);
  }

  /** `spoken`: to be read out; `from`: the slider that the reader holds, whose thumb stays in their hand. */
  settle(cursor, rest, { spoken = false, from = null } = {}) {
    // stays so until the next frame: another settling may come before
    this.tilesStale ||= rest.some((value, j) => Math.abs(value - (this.rest[j] ?? 0)) > 1e-9);
    Object.assign(this, { cursor, rest, slider: from, code: this.plane.at(cursor, rest) });
    byId("where").setAttribute("aria-live", spoken ? "polite" : "off"); // a pointer would never let it finish
    this.stopFrame();
    this.stopFrame = animate(() => {
      timed("frame", () => this.show());
      if (this.tilesStale && byId("tiles").checked) this.decodeTiles();
      return false;
    });
  }

  show() {
    paint(this.screen, this.decode(this.code));
    this.screen.canvas.dataset.code = JSON.stringify(this.code);
    for (const mirror of this.mirrors) mirror.drawImage(this.screen.canvas, 0, 0);
    this.redraw();
    byId("onto-plane").hidden = Math.hypot(...this.rest) < 0.005;
    byId("where").textContent = this.place();
    for (const { input, output, j } of this.sliders) {
      if (input !== this.slider) input.value = this.code[j];
      output.textContent = number(this.code[j]);
    }
  }

  /** Where one is, in words. */
  place() {
    const { d } = this.plane;
    const off = Math.hypot(...this.rest);
    const names = d > 2 ? ["axis 1", "axis 2"] : ["z₁", "z₂"];
    const words = names.slice(0, d).map((name, k) => `${name} = ${number(this.cursor[k])}`);
    if (off >= 0.005) words.push(`${number(off)} off the plane`);
    const [near] = this.plane.nearest(this.code, 1, (i) => this.visible(i));
    if (!near || near.distance < 0.005) return words.join(", ");
    const all = d > 2 ? ` in all ${d} dimensions` : "";
    return `${words.join(", ")}; nearest test ${example}${all}: ${this.kind(near.i)}, ${number(near.distance)} away`;
  }

  redraw() {
    const { cursor, classes, selection } = this;
    this.view.draw({ cursor, classes, selection, tiles: byId("tiles").checked });
  }

  decodeTiles() {
    this.tilesStale = false;
    this.view.decodeTiles(this.decode, this.rest, () => this.redraw());
  }

  // ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────

  visible(i) {
    return !this.labels || this.classes.has(this.labels[i]);
  }

  /** The visible dot that is nearest on the map, and how far it is there. */
  nearestDot([u, v]) {
    const distances = this.plane.points.map(([x, y], i) => (this.visible(i) ? Math.hypot(x - u, y - v) : Infinity));
    const distance = Math.min(...distances);
    return { i: distances.indexOf(distance), distance };
  }

  choose(i) {
    this.stopWalk();
    this.selection = this.selection.length === 1 && this.selection[0] !== i ? [...this.selection, i] : [i];
    byId("walk-at").value = 1;
    if (this.labels) this.giveClass(this.labels[i]);
    this.jumpTo(this.plane.code(i), { spoken: true });
    this.describe();
    if (this.selection.length === 2 && !calm.matches) this.walk();
  }

  letGo() {
    this.stopWalk();
    this.selection = [];
    this.describe();
    this.settle(this.cursor, this.plane.zeros());
  }

  showClasses(classes) {
    this.classes = classes;
    this.describe();
    this.show();
  }

  /** Describes the selected images. */
  describe() {
    const { plane, labels } = this;
    const [a, b] = this.selection;
    for (const part of ["choice", "let-go"]) byId(part).hidden = a === undefined;
    byId("no-choice").hidden = a !== undefined;
    byId("walk").hidden = b === undefined;
    if (a === undefined) return;
    const i = b ?? a;
    byId("choice-title").textContent = labels ? `Test ${example} ${i}, ${this.kind(i)}` : `Test ${example} ${i}`;
    const own = this.conditional ? labels[i] : 0;
    const given = this.conditional ? [...new Set([own, this.given])] : [0];
    const decoded = given.map((label) => this.decoded(plane.code(i), this.conditional ? `as ${this.called(label)}` : "reconstruction", label));
    byId("choice-images").replaceChildren(this.original(i, "original"), ...decoded);
    const near = plane.nearest(plane.code(i), 6, (other) => other !== i && this.visible(other));
    byId("neighbours").replaceChildren(...near.map((other) => this.original(other.i, `${this.kind(other.i)}, ${number(other.distance)}`)));
    if (b === undefined) return;
    byId("walk-title").textContent = labels ? `From ${this.kind(a, "the")} to ${this.kind(b, "the")}` : `From ${example} ${a} to ${example} ${b}`;
    const shares = [0, 1, 2, 3, 4, 5, 6].map((k) => k / 6);
    byId("walk-images").replaceChildren(...shares.map((share) => this.decoded(this.between(share), number(share))));
  }

  /** What a test example is called: by its class, or by its number. */
  kind(i, article = "a") {
    if (!this.labels) return `${example} ${i}`;
    return this.called(this.labels[i], article);
  }

  called(label, article = "a") {
    return this.names[label] ?? `${article} ${label}`;
  }

  original(i, caption) {
    const { width, height } = data.explorer;
    const [x, y] = [width * (i % this.columns), height * Math.floor(i / this.columns)];
    return thumbnail(caption, (context) => context.drawImage(this.originals, x, y, width, height, 0, 0, width, height));
  }

  decoded(code, caption, given = this.given) {
    return thumbnail(caption, (context) => paint(context, this.decode(code, given)));
  }

  // ── walking ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A code on the line between the two selected images. */
  between(share) {
    const [from, to] = this.selection.map((i) => this.plane.code(i));
    return from.map((value, j) => value + share * (to[j] - value));
  }

  walk() {
    this.stopWalk();
    const stop = animate((elapsed) => {
      byId("walk-at").value = Math.min(1, elapsed / WALK);
      this.jumpTo(this.between(Math.min(1, elapsed / WALK)));
      if (elapsed < WALK) return true;
      this.stopWalk();
      return false;
    });
    const sign = (walking) => {
      this.walking = walking;
      byId("walk-play").textContent = walking ? "❚❚" : "▶";
      byId("walk-play").setAttribute("aria-label", walking ? "Stop walking" : "Walk");
    };
    sign(true);
    this.stopWalk = () => {
      stop();
      sign(false);
      this.stopWalk = () => {};
    };
  }

  // ── hands ───────────────────────────────────────────────────────────────────────────────────────────────────────

  listen() {
    const on = (id, kind, listener) => byId(id).addEventListener(kind, listener);
    on("map", "pointermove", (event) => this.walking || this.goTo(this.view.under(event)));
    on("map", "pointerleave", () => this.leave());
    on("map", "pointerdown", (event) => {
      if (event.pointerType === "mouse") return;
      this.stopWalk();
      this.goTo(this.view.under(event));
    });
    on("map", "click", (event) => {
      const pixels = event.pointerType === "mouse" ? 10 : 22;
      const { i, distance } = this.nearestDot(this.view.under(event));
      if (distance <= (pixels / byId("map").clientWidth) * 2 * this.plane.reach) this.choose(i);
    });
    on("map", "keydown", (event) => this.press(event));
    on("explorer", "keydown", (event) => event.key === "Escape" && this.letGo());
    on("let-go", "click", () => this.letGo());
    on("onto-plane", "click", () => {
      this.stopWalk();
      this.settle(this.cursor, this.plane.zeros());
    });
    on("model", "change", (event) => this.open(event.target.value));
    on("given", "change", (event) => this.giveClass(Number(event.target.value)));
    on("tiles", "change", () => {
      if (byId("tiles").checked) this.decodeTiles();
      this.redraw();
    });
    on("walk-at", "input", (event) => {
      this.stopWalk();
      this.jumpTo(this.between(Number(event.target.value)));
    });
    on("walk-play", "click", () => (this.walking ? this.stopWalk() : this.walk()));
    new ResizeObserver(() => {
      this.view.fit();
      this.redraw();
    }).observe(byId("map"));
  }

  /** A pointer that leaves the map leaves it at the selection. */
  leave() {
    if (this.walking || !this.selection.length) return;
    const [one, other] = this.selection;
    this.jumpTo(other === undefined ? this.plane.code(one) : this.between(Number(byId("walk-at").value)));
  }

  press(event) {
    const step = (event.shiftKey ? 0.15 : 0.03) * this.plane.reach;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (move) {
      this.stopWalk();
      this.goTo(this.cursor.map((value, k) => value + move[k]), { spoken: true });
    } else if (event.key === "Enter" || event.key === " ") {
      const { i, distance } = this.nearestDot(this.cursor);
      if (distance < Infinity) this.choose(i);
    } else return;
    event.preventDefault();
  }
}

if (data.explorer) new Explorer(data.explorer);
