/** The worker: all heavy work of the page, one call at a time; see client.js. */

import { adapt, contentImages, drawCrops, forCrops, randomNumbers } from "./adapt.js";
import { MetaStyleError, sentence } from "./errors.js";
import { hubStyle } from "./hub.js";
import { bitmapPixels, decodeImage, encodeImage } from "./image.js";
import { openRuntime } from "./runtime.js";
import { writeSafetensors } from "./safetensors.js";
import { fileName, mixBodies, mixStyles, newStyle, readBase, readStyle, styleFiles } from "./style.js";
import { Noise, predictStyle, stylize } from "./stylize.js";
import { readZip, writeZip } from "./zip.js";

/** @typedef {import("./style.js").Style} Style */
/** @typedef {import("./image.js").Pixels} Pixels */
/** @typedef {{ids: string[], weights: number[], strength: number}} Recipe which styles are mixed, and how strongly */
/** @typedef {{grams: import("./runtime.js").Named, history: Float32Array[], sha256?: string}} Artwork */

const MODEL = new URL("../model/", import.meta.url);
const VENDOR = new URL("../vendor/", import.meta.url);
const STYLE_FILES = ["config.json", "model.safetensors"];
const MAX_STYLE = 8e6; // bytes of a file of a style
const MAX_PHOTO = 4096; // pixels of the long side that are kept of a photo
const MAX_OUTPUT = 2e6; // pixels of a stylized image; 500 bytes each are needed

/** @type {import("./runtime.js").Runtime} */ let runtime;
/** @type {import("./style.js").Base} */ let base;
/** @type {Noise} */ let noise;
/** @type {Record<string, any>} */ let manifest;
/** @type {Pixels} */ let photo;
/** @type {boolean} whether it is the visitor's own, not an example */ let ownPhoto = false;
let refinement = 0; // the latest one; others stop
let kept = 0; // styles of the visitor so far
/** @type {Map<string, Promise<Style>>} */ const styles = new Map();
/** @type {Map<string, Artwork>} */ const artworks = new Map();
/** @type {Map<string, Promise<Uint8Array>>} */ const files = new Map();
/** @type {Promise<Pixels[]> | undefined} */ let contents;

/** @param {string} path of the manifest */
async function fetchFile(path) {
  const response = await fetch(new URL(path, MODEL)).catch(() => null);
  if (!response?.ok) {
    const cause = response ? `status ${response.status}` : "no connection";
    throw new MetaStyleError(`${path} could not be loaded (${cause}); reload the page.`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {string} path a file that several graphs need */
function load(path) {
  if (!path.endsWith(".safetensors")) return fetchFile(path);
  const file = files.get(path) ?? fetchFile(path);
  files.set(path, file);
  file.catch(() => files.delete(path));
  return file;
}

/** @param {Uint8Array} bytes */
const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** @param {string} id */
function styleOf(id) {
  const known = styles.get(id);
  if (known) return known;
  const entry = manifest.styles.find((/** @type {{name: string}} */ one) => one.name === id);
  if (!entry) throw new MetaStyleError(`There is no style “${id}” here; choose one from the list.`);
  const style = Promise.all([entry.config, entry.weights].map(fetchFile)).then(([config, weights]) =>
    readStyle(base, config, weights, id),
  );
  styles.set(id, style);
  style.catch(() => styles.delete(id));
  return style;
}

/** @param {Style} style */
function keep(style) {
  const id = `own-${++kept}`;
  styles.set(id, Promise.resolve(style));
  return { id, name: style.name };
}

/** @param {Recipe} recipe */
async function mixed({ ids, weights, strength }) {
  const all = await Promise.all(ids.map(styleOf));
  const tensors = mixBodies(base, all, weights, strength);
  const bytes = () => writeSafetensors(new Map([...base.tensors, ...(tensors ?? [])]));
  const body = tensors && { key: JSON.stringify([ids, weights, strength]), weights: bytes };
  return { all, vector: mixStyles(base, all, weights, strength), body, tensors };
}

/** @param {Pixels} pixels @param {Recipe} recipe @param {{size: number, keepColor: boolean}} options */
async function stylized(pixels, recipe, { size, keepColor }) {
  const { vector, body } = await mixed(recipe);
  const short = Math.min(pixels.width, pixels.height);
  const most = Math.floor(short * Math.sqrt(MAX_OUTPUT / (pixels.width * pixels.height)));
  return stylize(runtime, noise, pixels, vector, { size: Math.min(size || short, most), keepColor, body });
}

const recipeName = () => (runtime.provider === "webgpu" ? "full" : "small");

/** @param {Pixels} pixels @param {{width: number, height: number}} [size] */
function bitmap(pixels, size) {
  const image = new ImageData(pixels.data, pixels.width, pixels.height);
  return createImageBitmap(image, size && { resizeWidth: size.width, resizeHeight: size.height, resizeQuality: "high" });
}

const calls = {
  /** Load the base and the runtime. @param {{backend?: string}} options */
  async open({ backend }) {
    manifest = parse(await fetchFile("browser.json"));
    const { config, weights } = manifest.base;
    const vendor = VENDOR.href;
    const [opened, configFile, weightsFile] = await Promise.all([
      openRuntime({ vendor, manifest, load, backend }), fetchFile(config), load(weights),
    ]);
    base = readBase(manifest, parse(configFile), weightsFile);
    noise = new Noise(manifest);
    runtime = opened;
    try {
      const data = new Uint8ClampedArray(4 * 32 * 32);
      await stylize(runtime, noise, { width: 32, height: 32, data }, base.vector); // a GPU may fail at its first pass
    } catch (error) {
      if (runtime.provider === "wasm" || backend) throw error;
      console.warn("WebGPU failed", error);
      runtime = await openRuntime({ vendor, manifest, load, backend: "wasm" });
    }
    const recipe = manifest.recipes[recipeName()];
    return {
      device: runtime.label,
      gpu: runtime.provider === "webgpu",
      steps: Object.keys(recipe.schedules).map(Number).sort((a, b) => a - b),
      defaultSteps: recipe.config.steps,
      styles: manifest.styles.map((/** @type {{name: string}} */ { name }) => name),
      contents: manifest.contents,
    };
  },

  /** Take a photo; without a file, an example. @param {{file: Blob, name: string, own: boolean}} given */
  async photo({ file, name, own }) {
    photo = await decodeImage(file, name, MAX_PHOTO);
    ownPhoto = own;
    const scale = Math.min(1, 1280 / Math.max(photo.width, photo.height));
    const size = { width: Math.ceil(photo.width * scale), height: Math.ceil(photo.height * scale) };
    return { width: photo.width, height: photo.height, bitmap: await bitmap(photo, size) };
  },

  /**
   * Stylize the photo, or a frame of the webcam.
   * @param {{frame?: ImageBitmap, recipe: Recipe, size: number, keepColor: boolean}} options 0 keeps the size
   */
  async stylize({ frame, recipe, ...options }) {
    const start = performance.now();
    const pixels = await stylized(frame ? bitmapPixels(frame) : photo, recipe, options);
    return { bitmap: await bitmap(pixels), width: pixels.width, height: pixels.height, ms: performance.now() - start };
  },

  /** Return the stylized photo as a file. @param {{recipe: Recipe, size: number, keepColor: boolean}} options */
  async saveImage({ recipe, ...options }) {
    return encodeImage(await stylized(photo, recipe, options));
  },

  /** Predict the style of an artwork. @param {{file: Blob, name: string}} given */
  async artwork({ file, name }) {
    const pixels = await decodeImage(file, name, MAX_PHOTO);
    const { vector, grams } = await predictStyle(runtime, pixels);
    const sha256 = await digest(await file.arrayBuffer());
    const plain = name.replace(/\.\w+$/, "").replace(/[^\p{L}\p{N}+%., -]+/gu, " ").trim().slice(0, 60) || "artwork";
    const fields = { trainable: "norm", steps: 0, ...(sha256 && { style_sha256: sha256 }) };
    const style = keep(newStyle(base, plain, vector, fields));
    artworks.clear(); // the steps of one refinement take up to 40 MB
    artworks.set(style.id, { grams, history: [vector], sha256 });
    return style;
  },

  /**
   * Refine a predicted style; stops early on the call `stop`.
   * @param {{id: string, steps: number}} options @param {(progress: object) => void} report
   */
  async refine({ id, steps }, report) {
    const artwork = artworks.get(id);
    if (!artwork) throw new MetaStyleError("Only the style of an artwork that you opened here can be refined.");
    const own = ++refinement;
    contents ??= Promise.all(manifest.contents.map(async (/** @type {string} */ path) =>
      forCrops(await decodeImage(new Blob([await fetchFile(path)]), path), manifest.content_size)));
    const builtIn = await contents;
    const images = contentImages(builtIn, ownPhoto ? forCrops(photo, manifest.content_size) : null);
    const { config } = manifest.recipes[recipeName()];
    const random = randomNumbers(config.seed);
    const place = () => Math.floor(random() * 256);
    /** @returns {{crops: Float32Array, position: [number, number]}} */
    const draw = () => ({ crops: drawCrops(images, config, random), position: [place(), place()] });
    artwork.history.length = 1;
    const [start] = artwork.history;
    const began = performance.now();
    for await (const step of adapt(runtime, { recipe: recipeName(), steps, start, grams: artwork.grams, noise, draw })) {
      const { index, losses } = step;
      if (!Object.values(losses).every(Number.isFinite)) {
        throw new MetaStyleError(`The loss is ${losses.total} at step ${index}; the style before it is kept.`);
      }
      const vector = await step.parameters();
      artwork.history.push(vector);
      await setStep(id, artwork, index, { ...config, steps });
      const seconds = (performance.now() - began) / 1000;
      report({ index, losses, left: (seconds / index) * (steps - index) });
      await new Promise((resolve) => setTimeout(resolve)); // lets other calls run between steps
      if (own !== refinement) break;
    }
    return { index: artwork.history.length - 1 };
  },

  stop() {
    refinement++;
  },

  /** Go back to a step of a refinement. @param {{id: string, index: number}} options */
  async seek({ id, index }) {
    const artwork = artworks.get(id);
    if (artwork) await setStep(id, artwork, index, (await styleOf(id)).config.adaptation);
  },

  /** Return the addresses of the runtime's files that this device uses. */
  runtimeFiles() {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    return [...new Set(loaded.filter((name) => name.startsWith(VENDOR.href)))];
  },

  /** Return what is shown as the files of a style. @param {{recipe: Recipe, name: string}} options */
  async styleFiles({ recipe, name }) {
    const files = styleFiles(base, await asStyle(recipe, name));
    return { files, folder: fileName(name), fingerprint: base.fingerprint };
  },

  /** The same as a .zip. @param {{recipe: Recipe, name: string}} options */
  async saveStyle(options) {
    const { files, folder } = await calls.styleFiles(options);
    const inFolder = Object.fromEntries(Object.entries(files).map(([path, data]) => [`${folder}/${path}`, data]));
    return { blob: new Blob([await writeZip(inFolder)], { type: "application/zip" }), folder };
  },

  /** Keep a mix as a style. @param {{recipe: Recipe, name: string}} options */
  async keepMix({ recipe, name }) {
    return keep(await asStyle(recipe, name));
  },

  /** Open a .zip. @param {{file: Blob, name: string}} given */
  async openStyle({ file, name }) {
    const opened = await readZip(new Uint8Array(await file.arrayBuffer()), name, STYLE_FILES, MAX_STYLE);
    return keep(readStyle(base, opened[STYLE_FILES[0]], opened[STYLE_FILES[1]], name));
  },

  /** Open a style of the Hub. @param {{repo: string}} given */
  async hub({ repo }) {
    const [config, weights] = await hubStyle(repo, STYLE_FILES, MAX_STYLE);
    return keep(readStyle(base, config, weights, repo));
  },
};

/**
 * Make a step of a refinement the style.
 * @param {string} id @param {Artwork} artwork @param {number} index @param {Record<string, any>} adaptation
 */
async function setStep(id, { history, sha256 }, index, adaptation) {
  const { name } = await styleOf(id);
  const vector = history[Math.min(index, history.length - 1)];
  const fields = { trainable: index ? "decoder" : "norm", steps: index, adaptation, ...(sha256 && { style_sha256: sha256 }) };
  styles.set(id, Promise.resolve(newStyle(base, name, vector, fields)));
}

/**
 * Return what is shown as a style: the chosen one unchanged, a mix with its parts in its config.
 * @param {Recipe} recipe @param {string} name @returns {Promise<Style>}
 */
async function asStyle(recipe, name) {
  const { all, vector, tensors } = await mixed(recipe);
  if (all.length === 1 && recipe.strength === 1) return { ...all[0], name };
  const parts = all.map((style, i) => ({ name: style.name, weight: recipe.weights[i] * recipe.strength }));
  if (recipe.strength < 1) parts.push({ name: base.config.name ?? "base", weight: 1 - recipe.strength });
  const kinds = ["norm", "decoder", "all"];
  const trainable = kinds[Math.max(...all.map((style) => kinds.indexOf(style.config.trainable ?? "all")))];
  return { ...newStyle(base, name, vector, { trainable, mix: parts.filter((part) => part.weight > 0) }), body: tensors };
}

/** @param {ArrayBuffer} bytes @returns {Promise<string | undefined>} SHA-256; not on pages without https */
async function digest(bytes) {
  const hash = await globalThis.crypto?.subtle?.digest("SHA-256", bytes);
  return hash && Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

addEventListener("message", async ({ data: { id, call, args } }) => {
  const post = /** @type {(message: unknown, transfer?: Transferable[]) => void} */ (postMessage);
  try {
    const run = /** @type {(args: any, report: (progress: object) => void) => any} */ (Reflect.get(calls, call));
    const result = await run(args, (progress) => post({ id, progress }));
    post({ id, result }, result?.bitmap ? [result.bitmap] : []);
  } catch (error) {
    post({ id, error: sentence(error) });
  }
});
