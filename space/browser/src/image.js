/** Images: decode, resize as PyTorch does, pad, convert to and from planes in [0, 1], encode. */

import { MetaStyleError } from "./errors.js";

/** @typedef {{width: number, height: number, data: Uint8ClampedArray<ArrayBuffer>}} Pixels RGBA, as in ImageData */
/** @typedef {{width: number, height: number, data: Float32Array}} Planes (3, H, W) in [0, 1] */
/** @typedef {{left: number, top: number, width: number, height: number}} Rectangle */

const MAX_PIXELS = 50e6; // those of the Python library
const MAX_BYTES = 200e6;
const MAX_ASPECT = 4; // of a style image; a longer one is cropped to its center
const READABLE = "JPEG, PNG, WebP, AVIF, GIF or BMP";
const LUMA = [0.299, 0.587, 0.114];

/**
 * Decode an image file to upright RGBA in sRGB.
 * @param {Blob} file @param {string} name how error messages call it
 * @param {number} [maxSide] the image is made smaller than this, to save memory @returns {Promise<Pixels>}
 */
export async function decodeImage(file, name, maxSide = Infinity) {
  if (file.size > MAX_BYTES) {
    const mega = Math.round(file.size / 1e6);
    throw new MetaStyleError(`${name} has ${mega} MB, more than the limit of ${MAX_BYTES / 1e6} MB; make it smaller.`);
  }
  const stated = statedSize(new Uint8Array(await file.slice(0, 2 ** 18).arrayBuffer()));
  if (stated) checkPixels(name, stated.width, stated.height);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new MetaStyleError(
      `${name} is no image in a format that can be read, or it is damaged; export it as ${READABLE}.`,
    );
  }
  checkPixels(name, bitmap.width, bitmap.height);
  const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
  return bitmapPixels(bitmap, Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
}

/**
 * Return the pixels of a bitmap at some size, and close it.
 * @param {ImageBitmap} bitmap @param {number} [width] @param {number} [height]
 */
export function bitmapPixels(bitmap, width = bitmap.width, height = bitmap.height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new MetaStyleError("This browser has no 2D canvas in workers; update it.");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** @param {string} name @param {number} width @param {number} height */
function checkPixels(name, width, height) {
  if (width * height <= MAX_PIXELS) return;
  const millions = (width * height / 1e6).toFixed(1);
  throw new MetaStyleError(
    `${name} has ${width}x${height} = ${millions} million pixels, more than the limit of ` +
      `${MAX_PIXELS / 1e6} million; make it smaller.`,
  );
}

/**
 * Return the size that a file states in its header, before anything is decoded; null for other formats.
 * @param {Uint8Array} file its beginning
 */
export function statedSize(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const text = (/** @type {number} */ at, /** @type {number} */ n) => String.fromCharCode(...file.subarray(at, at + n));
  if (file.length < 30) return null;
  if (text(1, 3) === "PNG") return { width: view.getUint32(16), height: view.getUint32(20) };
  if (text(0, 3) === "GIF") return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (text(0, 2) === "BM") return { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
  if (text(0, 4) === "RIFF" && text(12, 4) === "VP8X") {
    const three = (/** @type {number} */ at) => 1 + file[at] + 256 * file[at + 1] + 65536 * file[at + 2];
    return { width: three(24), height: three(27) };
  }
  if (view.getUint16(0) !== 0xffd8) return null;
  for (let at = 2; at + 9 < file.length; at += 2 + view.getUint16(at + 2)) {
    const marker = file[at + 1]; // start of frame: C0 to CF without C4, C8 and CC
    if (file[at] !== 0xff) return null;
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    }
  }
  return null;
}

/**
 * Return height and width with a short side of `size` pixels, the aspect ratio kept, as the Python library rounds.
 * @param {{width: number, height: number}} image @param {number} size
 */
export function shortSideSize({ width, height }, size) {
  const side = Math.min(width, height);
  const even = (/** @type {number} */ x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  const scaled = (/** @type {number} */ length) => Math.max(1, even((length * size) / side));
  return { width: scaled(width), height: scaled(height) };
}

/**
 * Return a style image as planes with a short side of `size` pixels; of a very long one the center.
 * @param {Pixels} pixels @param {number} size
 */
export function stylePlanes(pixels, size) {
  const most = MAX_ASPECT * Math.min(pixels.width, pixels.height);
  const [width, height] = [Math.min(pixels.width, most), Math.min(pixels.height, most)];
  const left = Math.floor((pixels.width - width) / 2);
  const top = Math.floor((pixels.height - height) / 2);
  return resize(pixels, shortSideSize({ width, height }, size), { left, top, width, height });
}

/**
 * Resize RGBA, over white, to planes in [0, 1], antialiased as `torch.nn.functional.interpolate(antialias=True)`.
 * @param {Pixels} pixels @param {{width: number, height: number}} size
 * @param {Rectangle} [part] the part of the image that is used; default all
 * @param {"bicubic" | "bilinear"} [mode] @returns {Planes}
 */
export function resize(pixels, { width, height }, part, mode = "bicubic") {
  const from = part ?? { left: 0, top: 0, width: pixels.width, height: pixels.height };
  const source = overWhite(pixels);
  const columns = taps(from.width, width, mode);
  const rows = taps(from.height, height, mode);
  const narrow = new Float32Array(3 * from.height * width);
  for (let y = 0; y < from.height; y++) {
    const line = ((from.top + y) * pixels.width + from.left) * 4;
    for (let x = 0; x < width; x++) {
      const { start, weights } = columns[x];
      let [red, green, blue] = [0, 0, 0];
      for (let k = 0, at = line + 4 * start; k < weights.length; k++, at += 4) {
        red += weights[k] * source[at];
        green += weights[k] * source[at + 1];
        blue += weights[k] * source[at + 2];
      }
      narrow[y * width + x] = red;
      narrow[(from.height + y) * width + x] = green;
      narrow[(2 * from.height + y) * width + x] = blue;
    }
  }
  const data = new Float32Array(3 * height * width);
  for (let c = 0, at = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      const { start, weights } = rows[y];
      for (let x = 0; x < width; x++, at++) {
        let sum = 0;
        for (let k = 0, i = (c * from.height + start) * width + x; k < weights.length; k++, i += width) {
          sum += weights[k] * narrow[i];
        }
        data[at] = Math.min(1, Math.max(0, sum / 255));
      }
    }
  }
  return { width, height, data };
}

/** @param {number} from @param {number} to @param {"bicubic" | "bilinear"} mode */
function taps(from, to, mode) {
  if (from === to) return Array.from({ length: to }, (_, start) => ({ start, weights: new Float64Array([1]) }));
  const scale = from / to;
  const stretch = Math.max(scale, 1); // antialiasing widens the filter
  const support = (mode === "bicubic" ? 2 : 1) * stretch;
  const filter = mode === "bicubic" ? cubic : (/** @type {number} */ x) => Math.max(0, 1 - Math.abs(x));
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), from);
    const weights = Float64Array.from({ length: end - start }, (_, k) => filter((start + k - center + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { start, weights: weights.map((w) => w / sum) };
  });
}

/** @param {number} x */
function cubic(x) {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

/** @param {Pixels} pixels */
function overWhite({ data }) {
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  if (opaque) return data;
  const flat = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i++) flat[i] = 255 + ((data[i] - 255) * data[i - (i % 4) + 3]) / 255;
  return flat;
}

/**
 * Pad planes by reflection, until both sides are multiples of `multiple` and at least `minimum`.
 * @param {Planes} planes @param {{multiple: number, minimum: number}} padding
 * @returns {{planes: Planes, part: Rectangle}} `part` is where the image lies in the result
 */
export function pad(planes, { multiple, minimum }) {
  const { width, height } = planes;
  const padded = (/** @type {number} */ side) => Math.ceil(Math.max(side, minimum) / multiple) * multiple;
  const [w, h] = [padded(width), padded(height)];
  const part = { left: Math.floor((w - width) / 2), top: Math.floor((h - height) / 2), width, height };
  if (w === width && h === height) return { planes, part };
  const mirror = (/** @type {number} */ i, /** @type {number} */ side) => {
    const period = Math.max(2 * (side - 1), 1);
    const k = ((i % period) + period) % period;
    return Math.min(k, period - k);
  };
  const columns = Array.from({ length: w }, (_, x) => mirror(x - part.left, width));
  const data = new Float32Array(3 * w * h);
  for (let c = 0, at = 0; c < 3; c++) {
    for (let y = 0; y < h; y++) {
      const line = (c * height + mirror(y - part.top, height)) * width;
      for (let x = 0; x < w; x++) data[at++] = planes.data[line + columns[x]];
    }
  }
  return { planes: { width: w, height: h, data }, part };
}

/**
 * Return a part of planes as RGBA, rounded to nearest.
 * @param {Planes} planes @param {Rectangle} part
 * @param {Pixels} [alpha] an image of the size of the part, whose transparency the result gets @returns {Pixels}
 */
export function toPixels({ width, height, data }, part, alpha) {
  const pixels = new Uint8ClampedArray(4 * part.width * part.height);
  const plane = width * height;
  for (let y = 0, at = 0; y < part.height; y++) {
    let i = (part.top + y) * width + part.left;
    for (let x = 0; x < part.width; x++, i++, at += 4) {
      pixels[at] = data[i] * 255; // a clamped array rounds
      pixels[at + 1] = data[i + plane] * 255;
      pixels[at + 2] = data[i + 2 * plane] * 255;
      pixels[at + 3] = alpha ? alpha.data[at + 3] : 255;
    }
  }
  return { width: part.width, height: part.height, data: pixels };
}

/**
 * Give stylized planes the colors of the content: its chroma, and only their luminance. Changes them in place.
 * @param {Float32Array} stylized @param {Float32Array} content
 */
export function preserveColor(stylized, content) {
  const plane = content.length / 3;
  for (let i = 0; i < plane; i++) {
    let difference = 0;
    for (let c = 0; c < 3; c++) difference += LUMA[c] * (stylized[i + c * plane] - content[i + c * plane]);
    for (let c = 0; c < 3; c++) {
      stylized[i + c * plane] = Math.min(1, Math.max(0, content[i + c * plane] + difference));
    }
  }
}

/** Encode an image: PNG if it is transparent anywhere, else JPEG. @param {Pixels} pixels */
export async function encodeImage(pixels) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d")?.putImageData(new ImageData(pixels.data, pixels.width, pixels.height), 0, 0);
  const opaque = overWhite(pixels) === pixels.data;
  return canvas.convertToBlob(opaque ? { type: "image/jpeg", quality: 0.95 } : { type: "image/png" });
}
