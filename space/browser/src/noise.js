/** The fixed noise field of the network's noise injection, equal bit for bit to NumPy's (docs/browser.md). */

/** @typedef {{channels: number, pixels_per_sample: number, period: number, pcg64: {state: string, increment: string}}} NoiseSpec */

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/**
 * Return one period of the field: channels x period x period samples of mean 0 and variance 1.
 * @param {NoiseSpec} spec
 */
export function noiseField({ channels, period, pcg64 }) {
  const field = new Float32Array(channels * period * period);
  const increment = BigInt(`0x${pcg64.increment}`);
  let state = BigInt(`0x${pcg64.state}`);
  for (let i = 0; i < field.length; i++) {
    state = BigInt.asUintN(128, state * MULTIPLIER + increment);
    const folded = BigInt.asUintN(64, (state >> 64n) ^ state);
    const turn = state >> 122n;
    const output = BigInt.asUintN(64, (folded >> turn) | (folded << (64n - turn)));
    field[i] = ((Number(output >> 40n) + 0.5) / 2 ** 24 - 0.5) * Math.sqrt(12);
  }
  return field;
}

/**
 * Return a window of a field, channels x height x width.
 * @param {Float32Array} field @param {NoiseSpec} spec @param {number} height @param {number} width
 * @param {number} [top] @param {number} [left]
 */
export function noiseWindow(field, { channels, period }, height, width, top = 0, left = 0) {
  const window = new Float32Array(channels * height * width);
  for (let c = 0, at = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      const row = (c * period + ((top + y) % period)) * period;
      for (let x = 0; x < width; x++) window[at++] = field[row + ((left + x) % period)];
    }
  }
  return window;
}
