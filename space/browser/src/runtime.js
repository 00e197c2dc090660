/** Where the graphs run: WebGPU, else WebAssembly on several threads, else on one. */

import { MetaStyleError } from "./errors.js";

/** @typedef {import("onnxruntime-web").Tensor} OrtTensor */
/** @typedef {import("onnxruntime-web").InferenceSession} Session */
/** @typedef {Record<string, OrtTensor>} Named tensors by the name of an input or output */

const MAX_THREADS = 8; // more only wait for memory

/** Loads graphs, and runs one at a time. */
export class Runtime {
  /** @type {Map<string, Promise<Session>>} */ #sessions = new Map();
  /** @type {{key: string, session: Promise<Session>} | undefined} a session with other weights */ #body;
  /** @type {Promise<unknown>} */ #running = Promise.resolve();

  /**
   * @param {typeof import("onnxruntime-web")} ort @param {"webgpu" | "wasm"} provider @param {number} threads
   * @param {Record<string, any>} manifest browser.json
   * @param {(path: string) => Promise<Uint8Array>} load a file of the manifest
   */
  constructor(ort, provider, threads, manifest, load) {
    this.ort = ort;
    this.provider = provider;
    this.threads = threads;
    this.manifest = manifest;
    this.load = load;
  }

  /** What the page says about the device. */
  get label() {
    if (this.provider === "webgpu") return "WebGPU";
    return this.threads > 1 ? `WebAssembly, ${this.threads} threads` : "WebAssembly, one thread";
  }

  /** @param {number[]} shape @param {Float32Array} data */
  tensor(shape, data) {
    return new this.ort.Tensor("float32", data, shape);
  }

  /**
   * Run a graph. Outputs named in `keep` stay on the GPU, if there is one, and the caller disposes of them.
   * @param {string} graph @param {Named} feeds @param {string[]} [keep]
   * @param {{key: string, weights: () => Uint8Array}} [body] replaces the weights of the base
   * @returns {Promise<Named>}
   */
  async run(graph, feeds, keep = [], body) {
    const session = await this.session(graph, keep, body);
    const result = this.#running.then(() => session.run(feeds));
    this.#running = result.catch(() => null);
    return /** @type {Promise<Named>} */ (result);
  }

  /**
   * Open a graph, once.
   * @param {string} graph @param {string[]} [keep] @param {{key: string, weights: () => Uint8Array}} [body]
   */
  session(graph, keep = [], body) {
    if (body && this.#body?.key !== body.key) {
      const old = this.#body; // holds a copy of the network; one is enough
      this.#body = { key: body.key, session: this.#open(graph, keep, body) };
      old?.session.then((session) => this.#running.then(() => session.release()));
    }
    if (body && this.#body) return this.#body.session;
    const session = this.#sessions.get(graph) ?? this.#open(graph, keep);
    this.#sessions.set(graph, session);
    session.catch(() => this.#sessions.delete(graph));
    return session;
  }

  /** @param {string} graph @param {string[]} keep @param {{weights: () => Uint8Array}} [body] */
  async #open(graph, keep, body) {
    const { file, external_data: paths } = this.manifest.graphs[graph];
    const [model, ...files] = await Promise.all([file, ...paths].map(this.load));
    const externalData = files.map((data, i) => ({
      path: paths[i],
      data: body && paths[i] === this.manifest.base.weights ? body.weights() : data,
    }));
    const onGpu = this.provider === "webgpu" ? keep : [];
    const opened = this.#running.then(() =>
      this.ort.InferenceSession.create(model, {
        executionProviders: [this.provider],
        externalData,
        graphOptimizationLevel: graph.startsWith("adapt") ? "basic" : "all", // all takes twice as long, for no gain
        preferredOutputLocation: Object.fromEntries(onGpu.map((name) => [name, "gpu-buffer"])),
        logSeverityLevel: 3,
      }),
    );
    this.#running = opened.catch(() => null);
    return opened;
  }
}

/**
 * Open the best runtime of this device.
 * @param {object} options @param {string} options.vendor the address of onnxruntime-web's files
 * @param {Record<string, any>} options.manifest @param {(path: string) => Promise<Uint8Array>} options.load
 * @param {string} [options.backend] "wasm" or "webgpu" to insist on one
 */
export async function openRuntime({ vendor, manifest, load, backend }) {
  if (typeof WebAssembly === "undefined") throw new MetaStyleError("This browser has no WebAssembly; update it.");
  const webgpu = backend !== "wasm" && (await hasGpu(backend === "webgpu"));
  const jspi = "Suspending" in WebAssembly;
  const [bundle, binary] = !webgpu ? ["wasm", ""] : jspi ? ["jspi", ".jspi"] : ["webgpu", ".asyncify"];
  /** @type {typeof import("onnxruntime-web")} */
  const ort = await import(new URL(`ort.${bundle}.bundle.min.mjs`, vendor).href);
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { wasm: new URL(`ort-wasm-simd-threaded${binary}.wasm`, vendor).href };
  ort.env.logLevel = "error";
  return new Runtime(ort, webgpu ? "webgpu" : "wasm", threads, manifest, load);
}

/** @param {boolean} any also an adapter that is emulated on the CPU */
async function hasGpu(any) {
  /** @type {any} */ const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && (any || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter)));
}
