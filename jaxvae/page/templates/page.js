// What the page's parts share: its data, elements, and the theme; sorting of tables, copying of lines.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
if (data.underWay) setTimeout(() => location.reload(), 30_000); // the sweep goes on
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** An element with attributes and children; a text child stays text. */
function element(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A number as the tables write it: thousands separated, a true minus sign. */
function number(value, digits = 2) {
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const zero = Math.abs(value) < 0.5 * 10 ** -digits; // which has no sign
  return (zero ? 0 : value).toLocaleString("en", format).replace("-", "−");
}

/** The checked value of a group of radio buttons. */
const choice = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

function onChoice(names, listener) {
  for (const name of names)
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) input.addEventListener("change", listener);
}

/** Calls `step(elapsed in ms)` once a frame until it returns false; the result stops it. */
function animate(step) {
  const started = performance.now();
  let handle = requestAnimationFrame(function frame(now) {
    if (step(now - started) !== false) handle = requestAnimationFrame(frame);
  });
  return () => cancelAnimationFrame(handle);
}

/** Does `work`, and tells those who observe this page's measures how long it took. */
function timed(name, work) {
  const start = performance.now();
  const result = work();
  performance.measure(name, { start });
  performance.clearMeasures(name); // else they would be kept for ever
  return result;
}

byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// what scrolls must be reached by keys, and nothing else
for (const area of document.querySelectorAll(".scroll"))
  new ResizeObserver(() => area.toggleAttribute("data-scrolls", area.scrollWidth > area.clientWidth) ? area.setAttribute("tabindex", 0) : area.removeAttribute("tabindex")).observe(area);

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) =>
    heading.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const order = (row) => Number.parseFloat(row.cells[column].dataset.order ?? "NaN");
      const missing = (row) => Number.isNaN(order(row)); // stays at the end either way
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => missing(a) - missing(b) || sign * (order(a) - order(b)) || 0);
      table.tBodies[0].append(...rows);
    }),
  );
}

for (const button of document.querySelectorAll("button.copy"))
  button.addEventListener("click", async () => {
    const line = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(line.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(line); // where a page may not write to the clipboard, the reader does
      button.textContent = "press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "copy"), 2000);
  });
