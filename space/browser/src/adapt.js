/** Adaptation: gradient steps from a predicted initialization, each one run of a graph that holds loss, gradient and Adam. */

import { resize, shortSideSize, toPixels } from "./image.js";

/** @typedef {import("./runtime.js").Runtime} Runtime */
/** @typedef {import("./runtime.js").Named} Named */
/** @typedef {import("./image.js").Pixels} Pixels */
/**
 * @typedef {object} Step
 * @property {number} index gradient steps so far
 * @property {{total: number, content: number, style: number}} losses before the step
 * @property {() => Promise<Float32Array>} parameters after the step
 */

const OWN_SHARE = 0.5; // of the crops come from the visitor's photo; that alone would be overfitted

/**
 * Return the images that crops are drawn from, as the library chooses them.
 * @param {Pixels[]} builtIn @param {Pixels | null} own the visitor's photo
 */
export function contentImages(builtIn, own) {
  if (!own) return builtIn;
  const repeats = Math.max(1, Math.round((builtIn.length * OWN_SHARE) / (1 - OWN_SHARE)));
  return [...Array(repeats).fill(own), ...builtIn];
}

/** Return a generator of numbers in [0, 1), the same for the same seed (Mulberry32). @param {number} seed */
export function randomNumbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Draw the crops of a step: squares of different images, resized, mirrored half of the time, with a little dither.
 * @param {Pixels[]} contents
 * @param {{batch_size: number, crop_size: number, min_scale: number, max_scale: number}} config
 * @param {() => number} random @returns {Float32Array} (B, 3, S, S)
 */
export function drawCrops(contents, { batch_size: count, crop_size: size, min_scale: low, max_scale: high }, random) {
  const crops = new Float32Array(count * 3 * size * size);
  const order = contents.map((image) => ({ image, key: random() })).sort((a, b) => a.key - b.key);
  for (let i = 0; i < count; i++) {
    const { image } = order[i % order.length];
    const short = Math.min(image.width, image.height);
    const smallest = Math.min(short, Math.max(size / 2, low * short)); // enlarged crops are smoother than any photo
    const side = Math.round(smallest + random() * (Math.max(smallest, high * short) - smallest));
    const left = Math.floor(random() * (image.width - side + 1));
    const top = Math.floor(random() * (image.height - side + 1));
    const part = { left, top, width: side, height: side };
    const { data } = resize(image, { width: size, height: size }, part, "bilinear");
    const mirrored = random() < 0.5;
    for (let k = 0, at = i * data.length; k < data.length; k++, at++) {
      const x = k % size;
      const value = data[mirrored ? k - x + (size - 1 - x) : k];
      crops[at] = Math.min(1, Math.max(0, value + (2 * random() - 1) / 255)); // a flat crop would upset the norms
    }
  }
  return crops;
}

/**
 * Adapt a style step by step. The caller may stop at any step; every step is a usable style.
 * @param {Runtime} runtime @param {object} task @param {string} task.recipe
 * @param {number} task.steps a number of steps that the recipe has a schedule for
 * @param {Float32Array} task.start parameters, usually predicted @param {Named} task.grams of the style
 * @param {import("./stylize.js").Noise} task.noise
 * @param {(index: number) => {crops: Float32Array, position: [number, number]}} task.draw crops, and place in the noise
 * @returns {AsyncGenerator<Step>}
 */
export async function* adapt(runtime, { recipe: name, steps, start, grams, noise, draw }) {
  const recipe = runtime.manifest.recipes[name];
  const { batch_size: count, crop_size: size } = recipe.config;
  const keep = ["parameters_out", "m_out", "v_out"];
  const zeros = () => runtime.tensor([start.length], new Float32Array(start.length));
  /** @type {Named} */ let state = { parameters: runtime.tensor([start.length], start), m: zeros(), v: zeros() };
  const free = () => Object.values(state).forEach((tensor) => tensor.dispose()); // memory of a GPU
  try {
    for (const [index, { graph, rates }] of recipe.schedules[steps].entries()) {
      const { crops, position } = draw(index);
      /** @type {Named} */ const feeds = {
        ...state,
        rates: runtime.tensor([rates.length], Float32Array.from(rates)),
        crops: runtime.tensor([count, 3, size, size], crops),
        ...noise.inputs(runtime, size, size, position),
      };
      const { inputs } = runtime.manifest.graphs[recipe.graphs[graph]];
      for (const input of inputs) if (input.name in grams) feeds[input.name] = grams[input.name];
      const { parameters_out: parameters, m_out: m, v_out: v, losses } = await runtime.run(recipe.graphs[graph], feeds, keep);
      free();
      state = { parameters, m, v };
      const [total, content, style] = /** @type {Float32Array} */ (losses.data);
      const read = async () => /** @type {Float32Array} */ (await parameters.getData()).slice();
      yield { index: index + 1, losses: { total, content, style }, parameters: read };
    }
  } finally {
    free();
  }
}

/**
 * Return a photo as content images are kept for crops.
 * @param {Pixels} photo @param {number} size pixels of the short side @returns {Pixels}
 */
export function forCrops(photo, size) {
  if (Math.min(photo.width, photo.height) <= size) return photo;
  const planes = resize(photo, shortSideSize(photo, size));
  return toPixels(planes, { left: 0, top: 0, width: planes.width, height: planes.height });
}
