/** Read and write .zip files: as much of the format as a style needs. */

import { MetaStyleError } from "./errors.js";

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** @param {Uint8Array} data */
function crc32(data) {
  let crc = -1;
  for (const byte of data) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** @param {Uint8Array} data @param {CompressionStream | DecompressionStream} stream */
async function through(data, stream) {
  const piped = new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (data)]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(piped).arrayBuffer());
}

/** Return little-endian fields as bytes. @param {[size: 2 | 4, value: number][]} fields */
function record(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/**
 * Return a .zip of files by path, compressed.
 * @param {Record<string, Uint8Array>} files @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function writeZip(files) {
  /** @type {Uint8Array[]} */ const parts = [];
  /** @type {Uint8Array[]} */ const directory = [];
  const length = (/** @type {Uint8Array[]} */ list) => list.reduce((sum, { length }) => sum + length, 0);
  for (const [path, data] of Object.entries(files)) {
    const name = new TextEncoder().encode(path);
    const packed = await through(data, new CompressionStream("deflate-raw"));
    // version, UTF-8 names, deflate, 1980-01-01 so that equal styles give equal files, CRC, sizes, length of the name
    const shared = record([
      [2, 20], [2, 0x800], [2, 8], [4, 0x210000], [4, crc32(data)], [4, packed.length], [4, data.length], [4, name.length],
    ]);
    const offset = length(parts);
    parts.push(record([[4, 0x04034b50]]), shared, name, packed);
    directory.push(record([[4, 0x02014b50], [2, 20]]), shared, record([[4, 0], [2, 0], [4, 0], [4, offset]]), name);
  }
  const count = Object.keys(files).length;
  const end = record([[4, 0x06054b50], [4, 0], [2, count], [2, count], [4, length(directory)], [4, length(parts)], [2, 0]]);
  return new Uint8Array(await new Blob(/** @type {BlobPart[]} */ ([...parts, ...directory, end])).arrayBuffer());
}

/**
 * Return the files of a .zip whose names, without folders, are wanted.
 * @param {Uint8Array} zip @param {string} where what error messages call it @param {string[]} wanted
 * @param {number} maxBytes of one file @returns {Promise<Record<string, Uint8Array>>}
 */
export async function readZip(zip, where, wanted, maxBytes) {
  const refused = new MetaStyleError(`${where} is not a .zip with ${wanted.join(" and ")}; open one that was saved here.`);
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  let end = zip.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  /** @type {Record<string, Uint8Array>} */ const files = {};
  try {
    let at = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left > 0; left--) {
      if (view.getUint32(at, true) !== 0x02014b50) throw refused;
      const nameLength = view.getUint16(at + 28, true);
      const path = new TextDecoder().decode(zip.subarray(at + 46, at + 46 + nameLength));
      const name = path.split("/").at(-1) ?? "";
      if (wanted.includes(name) && !(name in files)) {
        const method = view.getUint16(at + 10, true);
        const size = view.getUint32(at + 24, true);
        if (size > maxBytes) throw new MetaStyleError(tooLarge(where, size, maxBytes));
        const local = view.getUint32(at + 42, true);
        const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
        const packed = zip.subarray(start, start + view.getUint32(at + 20, true));
        if (method !== 0 && method !== 8) throw refused;
        const data = method ? await inflate(packed, where, maxBytes) : packed.slice();
        if (data.length !== size || crc32(data) !== view.getUint32(at + 16, true)) throw refused;
        files[name] = data;
      }
      at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    }
  } catch (error) {
    throw error instanceof MetaStyleError ? error : refused; // offsets outside the file are a RangeError
  }
  if (!wanted.every((name) => name in files)) throw refused;
  return files;
}

/**
 * Decompress, and stop at too much: the size that an archive states may be wrong.
 * @param {Uint8Array} packed @param {string} where @param {number} maxBytes
 */
async function inflate(packed, where, maxBytes) {
  const stream = new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (packed)]).stream();
  const reader = stream.pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const chunks = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    size += part.value.length;
    if (size > maxBytes) {
      await reader.cancel();
      throw new MetaStyleError(tooLarge(where, size, maxBytes));
    }
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** @param {string} where @param {number} size @param {number} most */
function tooLarge(where, size, most) {
  const mega = (/** @type {number} */ n) => Math.round(n / 1e6);
  return `${where} unpacks to ${mega(size)} MB, more than a style can have (${mega(most)} MB); open another.`;
}
