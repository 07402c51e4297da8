// Strips of reconstructions, a row a run, that follow a slider over epochs.

function reconstructions({ digits, width, height, which, originals, runs }) {
  const slider = byId("epoch");
  const last = Math.max(...runs.map((run) => run.epochs));
  const picture = (png) => element("img", { src: `data:image/png;base64,${png}`, alt: "" });
  const split = () => ["train", "test"].indexOf(choice("pictures"));

  function row(about, parent = byId("strips")) {
    const strip = element("div", { class: "strip", role: "img" });
    const loss = element("div", { class: "loss" });
    strip.style.aspectRatio = `${digits * width} / ${height}`;
    parent.append(element("div", { class: "strip-row" }, element("div", { class: "about" }, about), strip, loss));
    return { strip, loss };
  }

  const first = row("original", byId("original"));
  const rows = runs.map((run) => ({ run, ...row(run.about), pictures: run.pictures.map(picture) }));
  const firsts = originals.map(picture);

  function choose() {
    first.strip.replaceChildren(firsts[split()]);
    first.strip.setAttribute("aria-label", `${which} of the ${choice("pictures")} split`);
    for (const { strip, pictures } of rows) strip.replaceChildren(pictures[split()]);
    show();
  }

  function show() {
    const epoch = Number(slider.value);
    const progress = epoch ? `${epoch} of ${last}` : "untrained";
    byId("epoch-shown").textContent = progress;
    slider.setAttribute("aria-valuetext", progress);
    for (const { run, strip, loss, pictures } of rows) {
      const at = Math.min(epoch, run.epochs);
      pictures[split()].style.transform = `translateY(${(-100 * at) / (run.epochs + 1)}%)`;
      strip.setAttribute("aria-label", `${choice("pictures")} ${data.words.example}s reconstructed by ${run.about} after epoch ${at}`);
      const value = run.losses[split()][at];
      loss.textContent = value === null ? "" : `loss ${number(value, 1)}`;
    }
  }

  slider.max = last;
  slider.value = last;
  let stop = null;
  const button = byId("play");
  function pause() {
    stop?.();
    stop = null;
    button.textContent = "▶";
    button.setAttribute("aria-label", "Play the epochs");
  }
  button.addEventListener("click", () => {
    if (stop) return pause();
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "Pause");
    const from = Number(slider.value) < last ? Number(slider.value) : 0;
    stop = animate((elapsed) => {
      slider.value = Math.min(last, from + Math.floor(elapsed / 300));
      show();
      if (Number(slider.value) < last) return true;
      pause();
      return false;
    });
  });
  slider.addEventListener("input", () => {
    pause();
    show();
  });
  onChoice(["pictures"], choose);
  choose();
}

if (data.reconstructions) reconstructions(data.reconstructions);
