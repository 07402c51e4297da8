// The latent plane as a picture: a decoded map below, test images as coloured points, and what is chosen above them.

// bright on black, where the map is drawn in either theme; as far apart as ten colours can be; more classes begin again
const COLOURS = ["#8ab4ff", "#ffa94d", "#63d471", "#ff7b72", "#c9a0ff", "#d9a679", "#ff9ad5", "#c8ccd4", "#dede5a", "#4fd8e0"];
const TILES = 14;
const FEW_DOTS = 300; // up to which they are larger

/** A run's codes in the plane that is drawn. */
class Plane {
  constructor({ latentDim, mean, logStd, centre, axes: directions, shares }) {
    this.d = latentDim;
    this.means = fromFloat16(bytes(mean));
    this.stds = fromFloat16(bytes(logStd)).map(Math.exp);
    this.n = this.means.length / this.d;
    this.centre = centre;
    this.directions = directions;
    this.points = Array.from({ length: this.n }, (_, i) => this.project(this.code(i)));
    const reach = Math.max(2.5, ...this.points.flat().map(Math.abs));
    this.reach = 1.05 * reach;
    const share = (k) => `axis ${k + 1}: ${Math.round(100 * shares[k])} %`;
    this.titles = this.d > 2 ? [share(0), share(1)] : ["z₁", this.d > 1 ? "z₂" : ""];
  }

  /** The posterior mean of a test image. */
  code(i) {
    return Array.from(this.means.subarray(i * this.d, (i + 1) * this.d));
  }

  zeros() {
    return Array(this.d).fill(0);
  }

  project(code) {
    return this.directions.map((axis) => axis.reduce((sum, a, j) => sum + a * (code[j] - this.centre[j]), 0));
  }

  /** The code at a place of the plane, moved off it by `rest`. */
  at([u, v], rest) {
    return this.centre.map((c, j) => c + u * this.directions[0][j] + v * this.directions[1][j] + rest[j]);
  }

  /** How far a code lies off the plane, a vector. */
  rest(code) {
    const flat = this.at(this.project(code), this.zeros());
    return code.map((value, j) => value - flat[j]);
  }

  distance(code, i) {
    let sum = 0;
    for (let j = 0; j < this.d; j++) sum += (code[j] - this.means[i * this.d + j]) ** 2;
    return Math.sqrt(sum);
  }

  /** The images nearest to a code among those that `among` lets through, nearest first. */
  nearest(code, many, among) {
    const near = [];
    for (let i = 0; i < this.n; i++) {
      if (!among(i)) continue;
      const distance = this.distance(code, i);
      if (near.length === many && distance >= near[many - 1].distance) continue;
      near.push({ i, distance });
      near.sort((a, b) => a.distance - b.distance).splice(many);
    }
    return near;
  }

  /** The posterior's one-sigma ellipse as the plane shows it: half axes and angle. */
  ellipse(i) {
    const variances = this.stds.subarray(i * this.d, (i + 1) * this.d).map((std) => std ** 2);
    const entry = (a, b) => variances.reduce((sum, variance, j) => sum + variance * this.directions[a][j] * this.directions[b][j], 0);
    const [xx, xy, yy] = [entry(0, 0), entry(0, 1), entry(1, 1)];
    const [middle, apart] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
    return { long: Math.sqrt(middle + apart), short: Math.sqrt(Math.max(0, middle - apart)), angle: Math.atan2(2 * xy, xx - yy) / 2 };
  }
}

/** Draws a plane into a canvas, with what is chosen and where one is. */
class MapView {
  constructor(canvas, labels, shades) {
    Object.assign(this, { canvas, labels, shades }); // classes, or numbers from 0 to 1, or neither
    this.context = canvas.getContext("2d");
    this.ground = document.createElement("canvas").getContext("2d"); // tiles, decoded as time allows
    this.tile = element("canvas", { width: data.explorer.width, height: data.explorer.height }).getContext("2d");
    this.side = Math.max(data.explorer.width, data.explorer.height); // of a tile, in whose middle the picture is
    this.next = 0; // the tile to be decoded
    this.stop = () => {};
  }

  get scale() {
    return this.canvas.width / (2 * this.plane.reach);
  }

  toPixels([u, v]) {
    return [(u + this.plane.reach) * this.scale, (this.plane.reach - v) * this.scale];
  }

  /** The place in the plane under a pointer. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const across = (2 * this.plane.reach) / box.width;
    return [(event.clientX - box.left) * across - this.plane.reach, this.plane.reach - (event.clientY - box.top) * across];
  }

  fit() {
    const side = Math.round(this.canvas.clientWidth * (devicePixelRatio || 1));
    if (side && side !== this.canvas.width) this.canvas.width = this.canvas.height = side;
  }

  clearTiles() {
    this.stop();
    this.ground.canvas.width = this.ground.canvas.height = TILES * this.side;
    this.next = 0;
  }

  /** Decodes a map of tiles within the plane, some of them a frame; `redraw` is called as they come. Begun anew before
   *  it is through, it goes on with the next tile, so that all of them follow a slider that is being moved. */
  decodeTiles(decode, rest, redraw) {
    this.stop();
    let left = TILES * TILES;
    this.stop = animate(() => {
      const until = performance.now() + 4; // of 16 ms, of which a frame of a conv model takes five
      for (; left && performance.now() < until; left--) {
        const [column, row] = [this.next % TILES, Math.floor(this.next / TILES)];
        this.next = (this.next + 1) % (TILES * TILES);
        const place = (k) => ((2 * k + 1) / TILES - 1) * this.plane.reach;
        paint(this.tile, decode(this.plane.at([place(column), -place(row)], rest)));
        const middle = (length) => (this.side - length) / 2;
        const { width, height } = this.tile.canvas;
        this.ground.drawImage(this.tile.canvas, column * this.side + middle(width), row * this.side + middle(height));
      }
      redraw();
      return left > 0;
    });
  }

  draw({ cursor, classes, selection, tiles }) {
    const { context, canvas, plane } = this;
    const unit = canvas.width / Math.max(1, canvas.clientWidth); // device pixels in a CSS pixel
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (tiles) {
      context.globalAlpha = 0.45;
      context.drawImage(this.ground.canvas, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    }
    this.grid(unit);
    for (let i = 0; i < plane.n; i++) {
      if (this.labels && !classes.has(this.labels[i])) continue;
      const [x, y] = this.toPixels(plane.points[i]);
      context.fillStyle = this.colour(i);
      context.beginPath();
      context.arc(x, y, (plane.n > FEW_DOTS ? 2.2 : 4) * unit, 0, 7);
      context.fill();
    }
    const outlined = (width) => {
      for (const [colour, line] of [["#000", width + 3], ["#fff", width]]) {
        context.strokeStyle = colour;
        context.lineWidth = line * unit;
        context.stroke();
      }
    };
    if (selection.length === 2) {
      context.beginPath();
      for (const i of selection) context.lineTo(...this.toPixels(plane.points[i]));
      outlined(2);
    }
    for (const i of selection) {
      const [x, y] = this.toPixels(plane.points[i]);
      const { long, short, angle } = plane.ellipse(i);
      for (const sigma of [1, 2]) {
        context.beginPath();
        context.ellipse(x, y, sigma * long * this.scale, sigma * short * this.scale, -angle, 0, 7);
        outlined(2);
      }
      context.fillStyle = "#fff";
      context.beginPath();
      context.arc(x, y, 4.5 * unit, 0, 7);
      context.fill();
    }
    const [x, y] = this.toPixels(cursor);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * unit * dx, y + 5 * unit * dy);
      context.lineTo(x + 16 * unit * dx, y + 16 * unit * dy);
    }
    outlined(1.5);
  }

  /** Of a test example's dot: its class's, or from blue for the lowest number to yellow for the highest. */
  colour(i) {
    return this.shades ? `hsl(${250 - 190 * this.shades[i]} 90% 70%)` : COLOURS[(this.labels?.[i] ?? 0) % COLOURS.length];
  }

  grid(unit) {
    const { context, canvas, plane } = this;
    context.strokeStyle = "#ffffff2e";
    context.fillStyle = "#dfe2e8";
    context.lineWidth = unit;
    context.font = `${11 * unit}px system-ui, sans-serif`;
    for (const tick of ticks({ range: [-plane.reach, plane.reach] }, 9)) {
      const [x, y] = this.toPixels([tick, tick]);
      for (const [from, to] of [[[x, 0], [x, canvas.height]], [[0, y], [canvas.width, y]]]) {
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(...to);
        context.stroke();
      }
      if (x < canvas.width - 105 * unit) context.fillText(short(tick), x + 3 * unit, canvas.height - 5 * unit);
      if (y > 30 * unit && y < canvas.height - 24 * unit) context.fillText(short(tick), 4 * unit, y - 3 * unit);
    }
    const [across, up] = plane.titles;
    context.font = `600 ${12 * unit}px system-ui, sans-serif`;
    context.fillText(up, 4 * unit, 15 * unit);
    context.textAlign = "right";
    context.fillText(across, canvas.width - 5 * unit, canvas.height - 5 * unit);
    context.textAlign = "left";
  }
}
