/** The page's side of the worker: calls that return promises, and one that skips what came too late. */

import { MetaStyleError } from "./errors.js";

/** @typedef {{resolve: (value: any) => void, reject: (error: Error) => void, progress?: (value: any) => void}} Waiting */

export class Client {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, Waiting>} */ #waiting = new Map();
  #last = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data: { id, result, error, progress } }) => {
      const waiting = this.#waiting.get(id);
      if (progress) return waiting?.progress?.(progress);
      this.#waiting.delete(id);
      if (error) waiting?.reject(new MetaStyleError(error));
      else waiting?.resolve(result);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      const error = new MetaStyleError(`The page could not start its worker (${event.message || "blocked"}); reload it.`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  /** @param {string} call @param {object} [args] @param {(value: any) => void} [progress] @returns {Promise<any>} */
  call(call, args = {}, progress) {
    const id = ++this.#last;
    const frame = Reflect.get(args, "frame");
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, progress });
      this.#worker.postMessage({ id, call, args }, frame ? [frame] : []);
    });
  }
}

/**
 * Return a function that does its work once at a time: of calls during the work only the last one counts.
 * @param {() => Promise<void>} work
 */
export function alwaysLast(work) {
  /** @type {Promise<void> | null} */ let running = null;
  let again = false;
  const loop = async () => {
    do {
      again = false;
      await work();
    } while (again);
    running = null;
  };
  return () => {
    again = true;
    running ??= loop().catch((error) => {
      running = null;
      throw error;
    });
    return running;
  };
}
