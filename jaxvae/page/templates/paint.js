// Examples as pictures, as the package's figures draw them: grey levels, colours, or a vector's numbers as bars.

const MAX_BARS = 64;
const [PROFILE_HEIGHT, MIN_PROFILE_WIDTH, PROFILE_MARGIN] = [48, 48, 3];
const [PAPER, BASELINE, BAR] = [1, 0.7, 0.25];
const MAX_RATIO = 4;

/** The numbers of an example as the levels of a picture in [0, 1], row by row, with one channel or three. */
function levels(numbers) {
  const { shape, black, white } = data.explorer.look;
  if (shape.length === 1) return profile(numbers, black, white);
  const [h, w, channels = 1] = shape;
  const kept = channels === 3 ? 3 : 1;
  const [tall, wide] = [Math.ceil(w / (MAX_RATIO * h)), Math.ceil(h / (MAX_RATIO * w))]; // how often a short side is drawn
  const picture = new Float32Array(h * tall * w * wide * kept);
  for (let i = 0; i < h * tall; i++)
    for (let j = 0; j < w * wide; j++) {
      const from = (Math.floor(i / tall) * w + Math.floor(j / wide)) * channels;
      const to = (i * w * wide + j) * kept;
      for (let c = 0; c < kept; c++) picture[to + c] = (numbers[from + c] - black) / (white - black);
    }
  return picture;
}

/** A bar for each number, or for several their mean, from zero up or down. */
function profile(numbers, low, high) {
  const n = numbers.length;
  const bars = Math.min(n, MAX_BARS);
  const thick = Math.ceil(MIN_PROFILE_WIDTH / bars);
  const width = bars * thick + 2 * PROFILE_MARGIN;
  const picture = new Float32Array(PROFILE_HEIGHT * width).fill(PAPER);
  const row = (value) => Math.round((1 - (Math.max(low, Math.min(high, value)) - low) / (high - low)) * (PROFILE_HEIGHT - 1));
  const zero = row(0);
  for (let bar = 0; bar < bars; bar++) {
    const [start, end] = [Math.floor((bar * n) / bars), Math.floor(((bar + 1) * n) / bars)];
    let sum = 0;
    for (let i = start; i < end; i++) sum += numbers[i];
    const tip = row(sum / (end - start));
    const left = PROFILE_MARGIN + bar * thick;
    for (let i = Math.min(zero, tip); i <= Math.max(zero, tip); i++)
      picture.fill(tip === zero ? BASELINE : BAR, i * width + left, i * width + left + thick);
  }
  return picture;
}

/** Draws a picture's levels into a context of its size. */
function paint(context, picture) {
  const { width, height } = data.explorer;
  const image = context.createImageData(width, height);
  const channels = picture.length / (width * height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * picture[channels * i + (channels === 3 ? c : 0)]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
