// Fits a picture into the canvas that the network takes, exactly as ghostyolo does in Python (data/letterbox.py).

const GREY = 114;
const BILINEAR_UNIT = 2048; // weights of neighbours are whole parts of this

/** Rounds to a whole number, halves to the even one, as Python does. */
export function roundEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/**
 * Says where a picture lies on the canvas.
 *
 * @param {number} imageWidth, imageHeight - in pixels
 * @param {object} network - detector.json
 * @returns {object} width, height of the canvas; left, top, pictureWidth, pictureHeight of the picture on it
 */
export function planLetterbox(imageWidth, imageHeight, network) {
  const fixed = Boolean(network.export.width && network.export.height);
  const fitWidth = fixed ? network.export.width : network.imgsz;
  const fitHeight = fixed ? network.export.height : network.imgsz;
  if (network.place === "stretch") {
    return { width: fitWidth, height: fitHeight, left: 0, top: 0, pictureWidth: fitWidth, pictureHeight: fitHeight };
  }
  const scale = Math.min(fitWidth / imageWidth, fitHeight / imageHeight);
  const pictureWidth = Math.max(1, roundEven(imageWidth * scale));
  const pictureHeight = Math.max(1, roundEven(imageHeight * scale));
  const upToStride = (side) => Math.ceil(side / network.stride) * network.stride;
  const width = fixed ? fitWidth : upToStride(pictureWidth);
  const height = fixed ? fitHeight : upToStride(pictureHeight);
  const middle = network.place === "corner" ? 0 : 0.5;
  const left = Math.floor((width - pictureWidth) * middle);
  const top = Math.floor((height - pictureHeight) * middle);
  return { width, height, left, top, pictureWidth, pictureHeight };
}

/**
 * Shrinks or enlarges a picture.
 *
 * @param {Uint8Array} pixels - rows of pixels, `step` values each, of which the first `channels` count
 * @param {string} how - "area": the mean of all pixels under the new one; "bilinear"; enlarging is always bilinear
 * @returns {Uint8Array} rows of pixels of `channels` values
 */
export function resize(pixels, width, height, step, channels, newWidth, newHeight, how) {
  const area = how === "area" && newWidth <= width && newHeight <= height;
  const taps = area ? areaTaps : bilinearTaps;
  const blend = area ? blendMeans : blendNeighbours;
  const columns = taps(width, newWidth);
  const lines = taps(height, newHeight);
  const rowLength = newWidth * channels;
  const result = new Uint8Array(rowLength * newHeight);
  // Each row of the picture is needed for two new ones at most, which follow each other.
  const rows = [{ source: -1, values: new Float32Array(rowLength) }, { source: -1, values: new Float32Array(rowLength) }];
  const narrowed = (source) => {
    const row = rows[source % 2];
    if (row.source !== source) {
      narrow(pixels, source * width * step, step, channels, columns, row.values);
      row.source = source;
    }
    return row.values;
  };
  for (let y = 0; y < newHeight; y++) blend(lines, y, narrowed, result.subarray(y * rowLength, (y + 1) * rowLength));
  return result;
}

function blendMeans(lines, y, narrowed, result) {
  const sum = new Float32Array(result.length).fill(0.5);
  for (let tap = lines.starts[y]; tap < lines.starts[y + 1]; tap++) {
    const row = narrowed(lines.sources[tap]);
    const weight = lines.weights[tap];
    for (let i = 0; i < sum.length; i++) sum[i] += weight * row[i];
  }
  result.set(sum);
}

/** In whole numbers, as OpenCV does, so that no pixel differs. */
function blendNeighbours(lines, y, narrowed, result) {
  const above = narrowed(lines.sources[2 * y]);
  const below = narrowed(lines.sources[2 * y + 1]);
  const [first, second] = lines.weights.subarray(2 * y, 2 * y + 2);
  for (let i = 0; i < result.length; i++) {
    result[i] = ((((above[i] >> 4) * first) >> 16) + (((below[i] >> 4) * second) >> 16) + 2) >> 2;
  }
}

function narrow(pixels, at, step, channels, columns, row) {
  const { starts, sources, weights } = columns;
  for (let x = 0; x < starts.length - 1; x++) {
    for (let channel = 0; channel < channels; channel++) {
      let value = 0;
      for (let tap = starts[x]; tap < starts[x + 1]; tap++) {
        value += weights[tap] * pixels[at + sources[tap] * step + channel];
      }
      row[x * channels + channel] = value;
    }
  }
}

/** Which old pixels a new one is made of: those from starts[i] to starts[i + 1]. */
function areaTaps(size, newSize) {
  const scale = size / newSize;
  const starts = new Int32Array(newSize + 1);
  const sources = [];
  const weights = [];
  for (let i = 0; i < newSize; i++) {
    const begin = i * scale;
    const end = Math.min((i + 1) * scale, size);
    for (let pixel = Math.floor(begin); pixel < Math.min(Math.ceil(end), size); pixel++) {
      const share = Math.min(pixel + 1, end) - Math.max(pixel, begin);
      if (share > 1e-6) {
        sources.push(pixel);
        weights.push(share / (end - begin));
      }
    }
    starts[i + 1] = sources.length;
  }
  return { starts, sources: Int32Array.from(sources), weights: Float32Array.from(weights) };
}

function bilinearTaps(size, newSize) {
  const scale = size / newSize;
  const starts = Int32Array.from({ length: newSize + 1 }, (_, i) => 2 * i);
  const sources = new Int32Array(2 * newSize);
  const weights = new Float32Array(2 * newSize);
  for (let i = 0; i < newSize; i++) {
    const place = Math.fround((i + 0.5) * scale - 0.5);
    const first = Math.floor(place);
    const share = Math.fround(place - first);
    sources[2 * i] = Math.min(Math.max(first, 0), size - 1);
    sources[2 * i + 1] = Math.min(Math.max(first + 1, 0), size - 1);
    weights[2 * i + 1] = roundEven(share * BILINEAR_UNIT);
    weights[2 * i] = roundEven(Math.fround(1 - share) * BILINEAR_UNIT);
  }
  return { starts, sources, weights };
}

/** The mean of red, green and blue that Python takes for a network of one channel. */
function toGrey(pixels, count) {
  const grey = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    grey[i] = (pixels[4 * i] * 4899 + pixels[4 * i + 1] * 9617 + pixels[4 * i + 2] * 1868 + 8192) >> 14;
  }
  return grey;
}

/**
 * Makes the network's input.
 *
 * @param {ImageData} image - red, green, blue and alpha of each pixel
 * @param {object} plan - of planLetterbox
 * @returns {Float32Array} channels x height x width in 0..1
 */
export function networkInput(image, plan, network) {
  const { width, height } = image;
  const channels = network.in_channels;
  let pixels = channels === 1 ? toGrey(image.data, width * height) : image.data;
  let step = channels === 1 ? 1 : 4;
  if (plan.pictureWidth !== width || plan.pictureHeight !== height) {
    pixels = resize(pixels, width, height, step, channels, plan.pictureWidth, plan.pictureHeight, network.resize);
    step = channels;
  }
  const unit = Float32Array.from({ length: 256 }, (_, value) => value / 255);
  const plane = plan.width * plan.height;
  const input = new Float32Array(channels * plane).fill(unit[GREY]);
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < plan.pictureHeight; y++) {
      let from = y * plan.pictureWidth * step + channel;
      let to = channel * plane + (y + plan.top) * plan.width + plan.left;
      for (const end = to + plan.pictureWidth; to < end; to++, from += step) input[to] = unit[pixels[from]];
    }
  }
  return input;
}

/** Brings a box from the canvas back to the picture, clipped. Corners in pixels: [left, top, right, bottom]. */
export function boxToImage(box, plan, imageWidth, imageHeight) {
  const scaleX = plan.pictureWidth / imageWidth;
  const scaleY = plan.pictureHeight / imageHeight;
  const within = (value, limit) => Math.min(Math.max(value, 0), limit);
  return [
    within((box[0] - plan.left) / scaleX, imageWidth),
    within((box[1] - plan.top) / scaleY, imageHeight),
    within((box[2] - plan.left) / scaleX, imageWidth),
    within((box[3] - plan.top) / scaleY, imageHeight),
  ];
}
