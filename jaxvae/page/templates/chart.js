// Axes in an SVG that is drawn at the size it has on the screen, so that its letters stay readable on a phone.

/** Draws axes into `svg` and returns {x, y, svg element of the plot's content, the plot's box}.
 *  x and y: {range: [low, high], log, title, ticks}. */
function axes(svg, x, y, height = 400) {
  const width = svg.clientWidth || 700; // not laid out yet, as in print of a hidden tab
  const box = { left: 52, right: width - 16, top: 24, bottom: height - 40 };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const toX = scale(x, box.left, box.right);
  const toY = scale(y, box.bottom, box.top);
  for (const tick of x.ticks ?? ticks(x, width < 500 ? 5 : 9)) {
    line(svg, "grid", toX(tick), box.top, toX(tick), box.bottom);
    text(svg, toX(tick), box.bottom + 16, short(tick), "middle");
  }
  for (const tick of ticks(y, 7)) {
    line(svg, "grid", box.left, toY(tick), box.right, toY(tick));
    text(svg, box.left - 7, toY(tick) + 4, short(tick), "end");
  }
  text(svg, (box.left + box.right) / 2, height - 6, x.title, "middle", "title");
  text(svg, 4, 13, y.title, "start", "title");
  return { x: toX, y: toY, box };
}

function scale({ range: [low, high], log }, from, to) {
  const f = log ? Math.log : (v) => v;
  return (value) => from + ((f(value) - f(low)) / (f(high) - f(low))) * (to - from);
}

/** Round numbers within an axis: 1, 2 or 5 times a power of ten apart; on a logarithmic one as many of them as fit. */
function ticks({ range: [low, high], log }, about) {
  if (log && low > 0 && high / low > 3) {
    const round = [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10)
      for (const leading of high / low > 100 ? [1, 3] : [1, 2, 3, 5, 7])
        if (leading * power >= low && leading * power <= high) round.push(leading * power);
    return round;
  }
  const least = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= least);
  const round = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step) round.push(tick);
  return round;
}

/** A range somewhat wider than the values'; null if there are none. */
function around(values, log, margin = 0.06) {
  const usable = values.filter((value) => value !== null && (!log || value > 0));
  if (!usable.length) return null;
  const [low, high] = [Math.min(...usable), Math.max(...usable)];
  if (log) return [low / 1.06, high * 1.06];
  const pad = (high - low || Math.abs(high) || 1) * margin;
  return [low - pad, high + pad];
}

const short = (value) => number(value, 10).replace(/\.?0+$/, "");

/** Hues from violet over red to ochre: distinct, in order, and readable on both grounds. */
const hue = (index, of) => (290 + (of > 1 ? (index / (of - 1)) * 170 : 0)) % 360;

function line(parent, kind, x1, y1, x2, y2) {
  const path = element("svg:line", { class: kind, x1, y1, x2, y2 });
  parent.append(path);
  return path;
}

function text(parent, x, y, content, anchor, kind = "") {
  const label = element("svg:text", { class: kind, x, y, "text-anchor": anchor }, content);
  parent.append(label);
  return label;
}

/** Draws now and whenever the SVG's width changes. */
function drawToFit(svg, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (svg.clientWidth !== width) draw((width = svg.clientWidth));
  }).observe(svg);
}
