/** One pass of the image transformation network, and the Gram matrices and parameters that are predicted of a style. */

import { pad, preserveColor, resize, shortSideSize, stylePlanes, toPixels } from "./image.js";
import { noiseField, noiseWindow } from "./noise.js";

/** @typedef {import("./runtime.js").Runtime} Runtime */
/** @typedef {import("./image.js").Pixels} Pixels */

/** The noise of an image or of a batch of crops. */
export class Noise {
  /** @type {Record<string, Float32Array>} */ #fields = {};

  /** @param {Record<string, any>} manifest */
  constructor(manifest) {
    this.specs = manifest.noise;
  }

  /**
   * Return the inputs of a graph, for an image of some size and a position in the field, in units of 4 pixels.
   * @param {Runtime} runtime @param {number} width @param {number} height
   * @param {[number, number]} [position] row and column
   */
  inputs(runtime, width, height, [top, left] = [0, 0]) {
    /** @type {import("./runtime.js").Named} */ const feeds = {};
    for (const [name, spec] of Object.entries(this.specs)) {
      const field = (this.#fields[name] ??= noiseField(spec));
      const [h, w] = [height / spec.pixels_per_sample, width / spec.pixels_per_sample];
      const scale = 4 / spec.pixels_per_sample;
      const data = noiseWindow(field, spec, h, w, top * scale, left * scale);
      feeds[name] = runtime.tensor([1, spec.channels, h, w], data);
    }
    return feeds;
  }
}

/**
 * Stylize an image.
 * @param {Runtime} runtime @param {Noise} noise @param {Pixels} pixels
 * @param {Float32Array} vector the parameters of the style @param {object} [options]
 * @param {number} [options.size] pixels of the output's short side; default that of the image
 * @param {boolean} [options.keepColor] @param {Parameters<Runtime["run"]>[3]} [options.body]
 * @returns {Promise<Pixels>}
 */
export async function stylize(runtime, noise, pixels, vector, { size, keepColor, body } = {}) {
  const content = resize(pixels, size ? shortSideSize(pixels, size) : pixels);
  const { planes, part } = pad(content, runtime.manifest.padding);
  const feeds = {
    image: runtime.tensor([1, 3, planes.height, planes.width], planes.data),
    parameters: runtime.tensor([vector.length], vector),
    ...noise.inputs(runtime, planes.width, planes.height),
  };
  const { stylized } = await runtime.run("stylize", feeds, [], body);
  const data = /** @type {Float32Array} */ (stylized.data);
  if (keepColor) preserveColor(data, planes.data);
  const sameSize = content.width === pixels.width && content.height === pixels.height;
  return toPixels({ ...planes, data }, part, sameSize ? pixels : undefined);
}

/**
 * Predict the parameters of an artwork's style, without a gradient step.
 * @param {Runtime} runtime @param {Pixels} artwork
 * @returns {Promise<{vector: Float32Array, grams: import("./runtime.js").Named}>}
 */
export async function predictStyle(runtime, artwork) {
  const { width, height, data } = stylePlanes(artwork, runtime.manifest.style_size);
  const grams = await runtime.run("grams", { image: runtime.tensor([1, 3, height, width], data) });
  const { parameters } = await runtime.run("predict", grams);
  return { vector: /** @type {Float32Array} */ (parameters.data).slice(), grams };
}
