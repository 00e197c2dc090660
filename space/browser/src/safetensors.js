/** Read and write safetensors files: 8 bytes of header length, a JSON header, raw little-endian values. */

import { MetaStyleError } from "./errors.js";

/** @typedef {{shape: number[], data: Float32Array}} Tensor */
/** @typedef {Map<string, Tensor>} Tensors */

const MAX_HEADER = 1e6; // bytes
const word = new DataView(new ArrayBuffer(4));

/** @type {Record<string, [number, (view: DataView, at: number) => number]>} */
const DTYPES = {
  F64: [8, (view, at) => view.getFloat64(at, true)],
  F32: [4, (view, at) => view.getFloat32(at, true)],
  F16: [2, (view, at) => halfToFloat(view.getUint16(at, true))],
  BF16: [2, (view, at) => (word.setUint16(0, view.getUint16(at, true)), word.getFloat32(0))],
};

/** @param {number} half */
function halfToFloat(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/**
 * Return the tensors of a file by name, in float32.
 * @param {Uint8Array} file @param {string} where what error messages call it @returns {Tensors}
 */
export function readSafetensors(file, where) {
  /** @param {string} reason @returns {never} */
  const damaged = (reason) => {
    throw new MetaStyleError(`${where} is damaged (${reason}); save it again, or fetch it again.`);
  };
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 8) damaged("it has no header");
  const length = Number(view.getBigUint64(0, true));
  if (length > Math.min(file.length - 8, MAX_HEADER)) damaged("the header is longer than the file");
  /** @type {Record<string, {dtype: string, shape: number[], data_offsets: [number, number]}>} */ let header = {};
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length)));
  } catch {
    damaged("the header is not JSON");
  }
  /** @type {Tensors} */ const tensors = new Map();
  let total = 0;
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [size, read] = DTYPES[entry?.dtype] ?? damaged(`${name} has the dtype ${entry?.dtype}`);
    const shape = Array.isArray(entry.shape) ? entry.shape : damaged(`${name} has no shape`);
    const count = shape.reduce((product, side) => (Number.isInteger(side) && side >= 0 ? product * side : NaN), 1);
    const [begin, end] = Array.isArray(entry.data_offsets) ? entry.data_offsets : damaged(`${name} has no offsets`);
    if (!(begin >= 0) || end - begin !== count * size || 8 + length + end > file.length) {
      damaged(`${name} does not fit its place`);
    }
    const start = 8 + length + begin;
    const aligned = entry.dtype === "F32" && (file.byteOffset + start) % 4 === 0;
    const data = aligned
      ? new Float32Array(file.buffer, file.byteOffset + start, count).slice()
      : Float32Array.from({ length: count }, (_, i) => read(view, start + i * size));
    tensors.set(name, { shape, data });
    total += end - begin;
  }
  if (8 + length + total !== file.length) damaged("tensors and file differ in size");
  return tensors;
}

/**
 * Return the file of tensors, byte for byte as `safetensors.torch.save` writes float32 tensors.
 * @param {Tensors} tensors @returns {Uint8Array<ArrayBuffer>}
 */
export function writeSafetensors(tensors) {
  /** @type {Record<string, unknown>} */ const header = { __metadata__: { format: "pt" } };
  const names = [...tensors.keys()].sort((a, b) => (a < b ? -1 : 1));
  let offset = 0;
  for (const name of names) {
    const { shape, data } = /** @type {Tensor} */ (tensors.get(name));
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(json.length / 8) * 8; // values start at a multiple of 8
  const file = new Uint8Array(8 + length + offset).fill(0x20, 8, 8 + length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(json, 8);
  let at = 8 + length;
  for (const name of names) {
    const { data } = /** @type {Tensor} */ (tensors.get(name));
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}
