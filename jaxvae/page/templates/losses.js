// Loss curves with a reading at an epoch, and the rate–distortion plot.

const DASHES = { linear: "5 3", conv: "none" };
const FURTHER_DASHES = ["1 3", "8 3 1 3", "10 3", "5 2 1 2 1 2"]; // of other architectures, in turn

/** By architecture, the dashes of its lines. */
function dashes(architectures) {
  const further = architectures.filter((name) => !(name in DASHES));
  const own = (name) => DASHES[name] ?? FURTHER_DASHES[further.indexOf(name) % FURTHER_DASHES.length];
  return Object.fromEntries(architectures.map((name) => [name, own(name)]));
}

function losses(svg) {
  const sizes = [...new Set(data.curves.map((curve) => curve.latentDim))].sort((a, b) => a - b);
  const last = Math.max(...data.curves.map((curve) => Object.values(curve.test)[0].length));
  const legend = byId("losses-legend").tBodies[0];
  const dash = dashes([...new Set(data.curves.map((curve) => curve.architecture))]);
  const models = data.curves.map((curve) => {
    const style = { class: "curve", "stroke-dasharray": dash[curve.architecture] };
    const swatch = element("svg:svg", { class: "swatch", viewBox: "0 0 30 10", "aria-hidden": "true" });
    const value = element("td");
    const row = element("tr", {}, element("th", { scope: "row" }, swatch, `${curve.architecture}, d = ${curve.latentDim}`), value);
    const tint = (shape) => {
      shape.style.setProperty("--hue", hue(sizes.indexOf(curve.latentDim), sizes.length));
      return shape;
    };
    swatch.append(tint(element("svg:path", { ...style, d: "M0 5H30" })));
    legend.append(row);
    return { curve, style, tint, row, value };
  });
  let epoch = last;
  let plot = null;

  const values = ({ curve }) => curve[choice("split")][choice("part")];
  const band = ({ curve }) => curve.band?.[choice("split")][choice("part")] ?? []; // the lowest and the highest of each epoch

  function draw() {
    const log = choice("scale") === "log";
    const range = around(models.flatMap((model) => [...values(model), ...band(model).flat()]), log) ?? (log ? [1, 10] : [0, 1]);
    const part = document.querySelector("input[name=part]:checked + span").textContent;
    const x = last > 1 ? [1, last] : [0.5, 1.5];
    plot = axes(
      svg,
      { range: x, title: "epoch", ticks: ticks({ range: x }, svg.clientWidth < 500 ? 5 : Math.min(last, 15)).filter(Number.isInteger) },
      { range, log, title: `${choice("split")} ${part}, nats per ${data.words.example}` },
    );
    for (const model of models) {
      const corners = band(model).flatMap(([low, high], i) => (low === null || (log && low <= 0) ? [] : [[plot.x(i + 1), plot.y(low), plot.y(high)]]));
      const outline = [...corners.map(([x, low]) => [x, low]), ...corners.map(([x, , high]) => [x, high]).reverse()];
      if (corners.length > 1) svg.append(model.tint(element("svg:path", { class: "band", d: `M${outline.join("L")}Z` })));
    }
    for (const model of models) {
      const points = values(model).flatMap((value, i) => (value === null || (log && value <= 0) ? [] : [[plot.x(i + 1), plot.y(value)]]));
      if (points.length) model.path = model.tint(element("svg:path", { ...model.style, d: `M${points.join("L")}${points.length > 1 ? "" : "h.1"}` }));
      else model.path = element("svg:path");
      svg.append(model.path);
    }
    plot.cursor = line(svg, "cursor", 0, plot.box.top, 0, plot.box.bottom);
    read(epoch);
  }

  function read(at, nearest = null, spoken = false) {
    epoch = Math.max(1, Math.min(last, at));
    for (const end of ["x1", "x2"]) plot.cursor.setAttribute(end, plot.x(epoch));
    byId("losses-epoch").setAttribute("aria-live", spoken ? "polite" : "off");
    byId("losses-epoch").textContent = `Epoch ${epoch} of ${last}`;
    for (const model of models) {
      const value = values(model)[epoch - 1];
      model.value.textContent = value == null ? "–" : number(value);
      for (const part of [model.path, model.row]) part.classList.toggle("near", model === nearest);
    }
  }

  function point(event) {
    const place = svg.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    const at = Math.round(1 + ((x - plot.box.left) / (plot.box.right - plot.box.left)) * (last - 1)) || 1;
    const distance = (model) => {
      const value = values(model)[Math.max(1, Math.min(last, at)) - 1];
      return value == null ? Infinity : Math.abs(plot.y(value) - y);
    };
    const nearest = models.reduce((best, model) => (distance(model) < distance(best) ? model : best));
    read(at, distance(nearest) < 25 ? nearest : null);
  }
  for (const kind of ["pointermove", "pointerdown"]) svg.addEventListener(kind, point);
  svg.addEventListener("pointerleave", () => read(epoch));
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: epoch - 1, ArrowRight: epoch + 1, Home: 1, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(to, null, true);
  });
  onChoice(["part", "split", "scale"], draw);
  drawToFit(svg, draw);
}

function rateDistortion(svg) {
  const points = data.points.filter((point) => point.rate !== null && point.distortion !== null);
  const architectures = [...new Set(points.map((point) => point.architecture))];
  const sizes = [...new Set(points.map((point) => point.latentDim))].sort((a, b) => a - b);
  const dash = dashes(architectures);
  const path = (architecture, d) => element("svg:path", { class: "trail", d, "stroke-dasharray": dash[architecture] });
  for (const architecture of architectures) {
    const swatch = element("svg:svg", { class: "swatch", viewBox: "0 0 30 10", "aria-hidden": "true" }, path(architecture, "M0 5H30"));
    byId("rate-distortion-key").append(element("span", {}, swatch, architecture));
  }
  let plot = null;

  drawToFit(svg, () => {
    const [x, y] = [around(points.map((p) => p.rate), false, 0.12), around(points.map((p) => p.distortion), false, 0.12)];
    if (!x || !y) return;
    plot = axes(svg, { range: x, title: `rate: KL(q(z|x) ‖ p(z)), nats per ${data.words.example}` }, { range: y, title: `distortion: −E log p(x|z), nats per ${data.words.example}` }, 460);
    for (const loss of ticks({ range: [x[0] + y[0], x[1] + y[1]] }, 7)) {
      const [from, to] = [Math.max(x[0], loss - y[1]), Math.min(x[1], loss - y[0])];
      if (from >= to) continue;
      line(svg, "iso", plot.x(from), plot.y(loss - from), plot.x(to), plot.y(loss - to));
      if (to === x[1] && plot.y(loss - to) < plot.box.bottom - 18) text(svg, plot.box.right - 4, plot.y(loss - to) + 15, `−ELBO ${short(loss)}`, "end", "halo");
    }
    for (const architecture of architectures) {
      const own = points.filter((point) => point.architecture === architecture);
      const means = sizes.flatMap((size) => {
        const seeds = own.filter((point) => point.latentDim === size);
        const mean = (key) => seeds.reduce((sum, point) => sum + point[key], 0) / seeds.length;
        return seeds.length ? [{ size, at: plot.x(mean("rate")), high: plot.y(mean("distortion")) }] : [];
      });
      svg.append(path(architecture, `M${means.map(({ at, high }) => [at, high]).join("L")}`));
      for (const point of own) {
        const dot = element("svg:circle", { class: "dot", cx: plot.x(point.rate), cy: plot.y(point.distortion), r: 5 });
        dot.style.setProperty("--hue", hue(sizes.indexOf(point.latentDim), sizes.length));
        svg.append(dot);
      }
      const below = architectures.indexOf(architecture) > 0; // of two curves the lower one, most often
      for (const { size, at, high } of means) text(svg, below ? at - 8 : at + 8, below ? high + 16 : high - 7, String(size), below ? "end" : "start", "title halo");
    }
  });

  function read(event) {
    const place = svg.getBoundingClientRect();
    const away = (point) => Math.hypot(plot.x(point.rate) - event.clientX + place.left, plot.y(point.distortion) - event.clientY + place.top);
    const near = points.reduce((best, point) => (away(point) < away(best) ? point : best));
    if (away(near) > 40) return;
    const { rate, distortion } = near;
    byId("rate-distortion-value").textContent = `${near.name}: rate ${number(rate)}, distortion ${number(distortion)}, −ELBO ${number(rate + distortion)} nats per ${data.words.example}`;
  }
  for (const kind of ["pointermove", "pointerdown"]) svg.addEventListener(kind, (event) => plot && read(event));
}

if (byId("losses-plot")) losses(byId("losses-plot"));
if (byId("rate-distortion-plot")) rateDistortion(byId("rate-distortion-plot"));
