/** Bases and styles: load, check, interpolate, save. A style here is a flat vector of the parameters it may train. */

import { MetaStyleError } from "./errors.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";

/** @typedef {import("./safetensors.js").Tensors} Tensors */
/** @typedef {{name: string, offset: number, shape: number[]}} Place where a parameter is in the vector, in floats */
/** @typedef {Record<string, any>} Config the content of a config.json */
/**
 * @typedef {object} Base
 * @property {Config} config
 * @property {Tensors} tensors
 * @property {string} fingerprint
 * @property {Place[]} layout
 * @property {Float32Array} vector its own parameters, in the order of the layout
 * @property {Config} template the config of a style without what its maker adds
 */
/**
 * @typedef {object} Style
 * @property {string} name
 * @property {Config} config
 * @property {Float32Array} vector
 * @property {Tensors} [body] the parameters outside the vector, of a style that trained the whole network
 */

const FORMAT_VERSION = 1;
const TRAINABLE = ["norm", "decoder", "all"];

/**
 * Return a base from its files.
 * @param {Config} manifest browser.json @param {Config} config @param {Uint8Array} weights @returns {Base}
 */
export function readBase(manifest, config, weights) {
  const tensors = readSafetensors(weights, "The base");
  /** @type {Place[]} */ const layout = manifest.parameters;
  const vector = flatten(layout, tensors, new Float32Array(manifest.parameter_count));
  return { config, tensors, layout, vector, fingerprint: manifest.base.fingerprint, template: manifest.style_config };
}

/**
 * Return a style from its files, checked as the Python library checks it.
 * @param {Base} base @param {Uint8Array} configFile @param {Uint8Array} weights
 * @param {string} where what error messages call it @returns {Style}
 */
export function readStyle(base, configFile, weights, where) {
  /** @type {Config} */ let config;
  try {
    config = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(configFile));
  } catch (error) {
    throw new MetaStyleError(`config.json in ${where} is not JSON (${error}); fetch or save it again.`);
  }
  if (!["base", "style"].includes(config?.kind)) {
    throw new MetaStyleError(`${where} is no metastyle_hub base or style: config.json lacks "kind".`);
  }
  if (config.kind === "base") throw new MetaStyleError(`${where} is a base, not a style; open a style.`);
  if (!Number.isInteger(config.format_version) || config.format_version > FORMAT_VERSION) {
    const found = `format ${config.format_version}, this page reads up to ${FORMAT_VERSION}`;
    throw new MetaStyleError(`${where} has ${found}; reload the page to update it.`);
  }
  const found = String(config.base_model?.fingerprint);
  if (found !== base.fingerprint) {
    const names = `${found.slice(0, 12)} (${config.base_model?.repo_id}), not from ${base.fingerprint.slice(0, 12)}`;
    throw new MetaStyleError(`${where} was adapted from base ${names}; open it with the library, which finds its base.`);
  }
  const trainable = config.trainable ?? "all";
  if (!TRAINABLE.includes(trainable)) {
    const cause = `trainable must be one of ${TRAINABLE.join(", ")}, got ${JSON.stringify(trainable)}`;
    throw new MetaStyleError(`config.json in ${where} has a wrong value: ${cause}.`);
  }
  const tensors = readSafetensors(weights, `model.safetensors in ${where}`);
  checkTensors(base, trainable, tensors, `model.safetensors in ${where}`);
  const name = typeof config.name === "string" && config.name ? config.name : "style";
  const inVector = new Set(base.layout.map((place) => place.name));
  const body = new Map([...tensors].filter(([key]) => !inVector.has(key)));
  return { name, config, vector: flatten(base.layout, tensors, base.vector.slice()), ...(body.size ? { body } : {}) };
}

/** @param {Base} base @param {string} trainable @param {Tensors} tensors @param {string} what */
function checkTensors(base, trainable, tensors, what) {
  const expected = new Set(ownNames(base, trainable));
  const tuple = (/** @type {number[]} */ shape) => (shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`);
  const described = (/** @type {number[] | undefined} */ shape) => (shape ? `of shape ${tuple(shape)}` : "absent");
  for (const name of [...new Set([...expected, ...tensors.keys()])].sort()) {
    const found = described(tensors.get(name)?.shape);
    const right = described(expected.has(name) ? base.tensors.get(name)?.shape : undefined);
    if (found !== right) {
      throw new MetaStyleError(`${name} in ${what} is ${found}, but should be ${right}; save it again.`);
    }
    if (!tensors.get(name)?.data.every(Number.isFinite)) {
      throw new MetaStyleError(`${name} in ${what} holds values that are not finite in float32; save it again.`);
    }
  }
}

/** @param {Base} base @param {string} trainable @returns {string[]} */
function ownNames(base, trainable) {
  if (trainable === "all") return [...base.tensors.keys()].filter((name) => !name.startsWith("predictor."));
  return base.layout.map((place) => place.name).filter((name) => trainable === "decoder" || name.includes(".norm."));
}

/**
 * Write tensors into a vector; those that are not there leave it as it is.
 * @param {Place[]} layout @param {Tensors} tensors @param {Float32Array} vector
 */
function flatten(layout, tensors, vector) {
  for (const { name, offset } of layout) {
    const tensor = tensors.get(name);
    if (tensor) vector.set(tensor.data, offset);
  }
  return vector;
}

/**
 * Return the weighted sum of vectors, in float32 as PyTorch computes it. Weights (1, 0) give the first one bit for bit.
 * @param {Float32Array[]} vectors @param {number[]} weights summing to 1
 */
export function interpolate(vectors, weights) {
  const used = vectors.map((vector, i) => ({ vector, weight: Math.fround(weights[i]) })).filter((v) => v.weight);
  const mixed = used[0].vector.slice();
  if (used.length === 1) return mixed;
  for (let i = 0; i < mixed.length; i++) {
    const first = mixed[i];
    if (used.every(({ vector }) => vector[i] === first)) continue; // parameters that no style has trained
    let sum = 0;
    for (const { vector, weight } of used) sum = Math.fround(sum + Math.fround(vector[i] * weight));
    mixed[i] = sum;
  }
  return mixed;
}

/**
 * Return styles in some mix, at some strength; 0 is the base.
 * @param {Base} base @param {Style[]} styles @param {number[]} weights summing to 1 @param {number} strength
 */
export function mixStyles(base, styles, weights, strength) {
  const vector = interpolate(styles.map((style) => style.vector), weights);
  return strength === 1 ? vector : interpolate([vector, base.vector], [strength, 1 - strength]);
}

/**
 * Return the parameters outside the vector in some mix, if a style has trained them.
 * @param {Base} base @param {Style[]} styles @param {number[]} weights summing to 1
 * @param {number} strength @returns {Tensors | undefined}
 */
export function mixBodies(base, styles, weights, strength) {
  const used = styles.filter((style, i) => weights[i] && style.body);
  if (!used.length || !strength) return undefined;
  return new Map([...used[0].body ?? []].map(([name, { shape }]) => {
    const own = /** @type {import("./safetensors.js").Tensor} */ (base.tensors.get(name)).data;
    const mixed = interpolate(styles.map((style) => style.body?.get(name)?.data ?? own), weights);
    return [name, { shape, data: strength === 1 ? mixed : interpolate([mixed, own], [strength, 1 - strength]) }];
  }));
}

/**
 * Return a new style of the base.
 * @param {Base} base @param {string} name @param {Float32Array} vector @param {Config} fields of the config.json
 * @returns {Style}
 */
export function newStyle(base, name, vector, fields) {
  return { name, vector, config: { ...base.template, name, ...fields } };
}

/**
 * Return the files of a style, as `MetaStyle.from_pretrained` loads them.
 * @param {Base} base @param {Style} style @returns {Record<string, Uint8Array>}
 */
export function styleFiles(base, style) {
  const layout = new Map(base.layout.map((place) => [place.name, place]));
  /** @type {Tensors} */ const tensors = new Map();
  for (const name of ownNames(base, style.config.trainable ?? "all")) {
    const shape = base.tensors.get(name)?.shape ?? [];
    const place = layout.get(name);
    const size = shape.reduce((a, b) => a * b, 1);
    const data = place ? style.vector.subarray(place.offset, place.offset + size) : style.body?.get(name)?.data;
    if (data) tensors.set(name, { shape, data });
  }
  const config = `${JSON.stringify(sorted({ ...style.config, name: style.name }), null, 2)}\n`;
  return { "config.json": new TextEncoder().encode(config), "model.safetensors": writeSafetensors(tensors) };
}

/** @param {any} value @returns {any} */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

/** Return a name that a file can have. @param {string} name */
export function fileName(name) {
  return name.replace(/[^\p{L}\p{N}-]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "style";
}
