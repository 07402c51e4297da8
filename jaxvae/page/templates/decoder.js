// A run's decoder, run here: dense layers, layer norms and transposed convolutions on numbers of the run's own precision.
// Or a map that was decoded beforehand, where the page cannot run it.

/** The bytes in base64. */
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;

function fromFloat16(buffer) {
  return Float32Array.from(new Uint16Array(buffer), (half) => {
    const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    return half >> 15 ? -size : size;
  });
}

function fromBfloat16(buffer) {
  const bits = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
  return new Float32Array(bits.buffer);
}

/** Rounds to bfloat16 in place, ties to even: the operands of products in a run of that precision. */
function roundToBfloat16(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
}

const activations = {
  relu: (value) => Math.max(0, value),
  tanh: Math.tanh,
  gelu: (value) => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))),
  silu: (value) => value / (1 + Math.exp(-value)),
  elu: (value) => (value > 0 ? value : Math.expm1(value)),
  linear: (value) => value,
};

/** Of each kind of layer, how many biases and how many kernel values it has. */
const numbers = {
  dense: ({ inputs, outputs }) => [outputs, inputs * outputs],
  norm: ({ outputs }) => [2 * outputs, 0], // scales are before biases
  transposed: ({ kernel, channels, features }) => [features, kernel[0] * kernel[1] * channels * features],
};

/** A function from a code to what the decoder puts out for it. */
function network({ layers, weights, precision, activation }) {
  const packed = bytes(weights);
  const sizes = layers.map((layer) => numbers[layer.kind](layer));
  const outputs = sizes.reduce((sum, [own]) => sum + own, 0);
  const whole = precision === "float32"; // kernels are whole numbers with scales
  const biases = new Float32Array(packed, 0, outputs);
  const scales = whole ? new Float32Array(packed, 4 * outputs, outputs) : null;
  const rest = packed.slice((whole ? 8 : 4) * outputs);
  const kernels = whole ? Float32Array.from(new Int16Array(rest)) : fromBfloat16(rest);
  let [output, at] = [0, 0];
  const steps = layers.map((layer, i) => {
    const [own, size] = sizes[i];
    const bias = biases.subarray(output, output + own);
    const kernel = kernels.subarray(at, at + size);
    if (whole) for (let k = 0; k < size; k++) kernel[k] *= scales[output + (k % own)];
    [output, at] = [output + own, at + size];
    return { dense, norm, transposed }[layer.kind](layer, kernel, bias);
  });
  const activate = activations[activation];
  const kind = (i) => layers[i]?.kind;
  return (code) => {
    let values = Float32Array.from(code);
    steps.forEach((step, i) => {
      if (precision === "bfloat16" && kind(i) !== "norm") roundToBfloat16(values);
      values = step(values);
      if (i < steps.length - 1 && kind(i + 1) !== "norm") for (let j = 0; j < values.length; j++) values[j] = activate(values[j]);
    });
    return values;
  };
}

/** Products stay in rows of the kernel, and what a ReLU has set to zero costs nothing. */
function dense(_, kernel, bias) {
  const outputs = bias.length;
  return (values) => {
    const sums = Float32Array.from(bias);
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (value === 0) continue;
      const row = i * outputs;
      for (let o = 0; o < outputs; o++) sums[o] += value * kernel[row + o];
    }
    return sums;
  };
}

/** Layer norm: values of mean 0 and variance 1, times a scale, plus a bias. */
function norm({ outputs }, _, own) {
  return (values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / outputs;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / outputs;
    return values.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * own[i] + own[outputs + i]);
  };
}

/** Each input pixel adds its channels, times the kernel, to the patch of the output that it stands for. */
function transposed({ channels, features, kernel: [taps, tapsAcross], stride, padding, rows }, kernel, bias) {
  return (values) => {
    const places = values.length / channels;
    const across = places / rows;
    const [tall, wide] = [[rows, taps], [across, tapsAcross]].map(([length, size]) => (length - 1) * stride + size - 2 * padding);
    const sums = new Float32Array(tall * wide * features);
    for (let i = 0; i < sums.length; i += features) sums.set(bias, i);
    for (let place = 0; place < places; place++) {
      const top = Math.floor(place / across) * stride - padding;
      const left = (place % across) * stride - padding;
      for (let r = Math.max(0, -top); r < taps && top + r < tall; r++)
        for (let q = Math.max(0, -left); q < tapsAcross && left + q < wide; q++) {
          const to = ((top + r) * wide + left + q) * features;
          const tap = (r * tapsAcross + q) * channels * features;
          for (let c = 0; c < channels; c++) {
            const value = values[place * channels + c];
            if (value === 0) continue;
            const from = tap + c * features;
            for (let f = 0; f < features; f++) sums[to + f] += value * kernel[from + f];
          }
        }
    }
    return sums;
  };
}

/** The mean of an example's number, given what the decoder puts out for it. */
const LINKS = {
  sigmoid: (value) => 1 / (1 + Math.exp(-value)),
  exp: Math.exp,
  identity: (value) => value,
  "continuous-bernoulli": (value) => (Math.abs(value) < 0.1 ? 0.5 + value / 12 : 1 / (1 - Math.exp(-value)) - 1 / value),
};

/** A function from a code, and the class that it is given, to the levels of a picture, see `levels`. */
function decoder(run, plane) {
  const { decoder: packed } = run;
  if (packed.tiles) return mapped(packed, plane);
  const outputs = network(packed);
  const [link, parts] = [LINKS[packed.link], packed.parts];
  const before = Array(packed.classes).fill(0); // the class comes before the code
  return (code, given) => {
    const values = outputs(packed.classes ? [...before.with(given, 1), ...code] : code);
    const means = new Float32Array(values.length / parts); // the first of the outputs for each number
    for (let i = 0; i < means.length; i++) means[i] = link(values[i * parts]);
    return levels(means);
  };
}

/** Between the four nearest pictures of a map that was decoded beforehand, at a code's place in the plane. */
function mapped({ tiles, side }, plane) {
  const map = new Uint8Array(bytes(tiles));
  const size = map.length / (side * side);
  const axis = (place) => Math.max(0, Math.min(side - 1.0001, ((place / plane.reach + 1) / 2) * (side - 1)));
  return (code) => {
    const [x, y] = plane.project(code).map(axis);
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const found = new Float32Array(size);
    for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      const share = (i ? y - row : 1 - (y - row)) * (j ? x - column : 1 - (x - column));
      const from = ((row + i) * side + column + j) * size;
      for (let k = 0; k < size; k++) found[k] += (share * map[from + k]) / 255;
    }
    return found;
  };
}
