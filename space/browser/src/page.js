/** The page: what the visitor sees and does. All computation is in the worker. */

import { Client, alwaysLast } from "./client.js";
import { canSignIn, finishSignIn, pushStyle, signIn } from "./hub.js";
import { Webcam } from "./webcam.js";
import { sentence } from "./errors.js";

/** @typedef {import("./worker.js").Recipe} Recipe */

/** @template {HTMLElement} [T=HTMLInputElement] @param {string} id @returns {T} */
const $ = (id) => /** @type {T} */ (/** @type {unknown} */ (document.getElementById(id)));

const client = new Client();
const address = new URLSearchParams(location.search);
const webcam = new Webcam($("video"), showFrame, (error) => attempt(async () => { stopWebcam(); throw error; }));
const corners = [0, 1, 2, 3].map((i) => /** @type {HTMLSelectElement} */ ($(`corner-${i}`)));

/** @type {Map<string, string>} names of all styles by id */ const names = new Map();
/** @type {"style" | "mix" | "corners"} what is shown */ let shown = "style";
let chosen = "";
let refined = ""; // the artwork that the refinement box belongs to
/** @type {import("./hub.js").Account | null} */ let account = null;
let photoName = "photo";
/** @type {ImageBitmap | undefined} */ let photo;
let working = 0; // actions that run

/** @returns {Recipe} */
function recipe() {
  const strength = $("strength").valueAsNumber;
  const blend = $("blend").valueAsNumber;
  const [x, y] = [$("across").valueAsNumber, $("down").valueAsNumber];
  if (shown === "mix") return { ids: [$("first").value, $("second").value], weights: [1 - blend, blend], strength };
  if (shown === "style") return { ids: [chosen], weights: [1], strength };
  const weights = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  return { ids: corners.map((corner) => corner.value), weights, strength };
}

function title() {
  const percent = (/** @type {number} */ weight) => `${Math.round(100 * weight)}%`;
  const { ids, weights } = recipe();
  if (ids.length === 1) return names.get(chosen) ?? "style";
  return ids.map((id, i) => [names.get(id), weights[i]]).filter(([, weight]) => weight)
    .map(([name, weight]) => `${percent(Number(weight))} ${name}`).join(" + ");
}

/** @param {string} text @param {string} [id] */
function say(text, id = "status") {
  $(id).textContent = text;
}

/**
 * Do something for the visitor; a failure becomes one sentence.
 * @param {() => Promise<unknown>} action @param {string} [id] where to say it
 */
async function attempt(action, id) {
  $("view").classList.toggle("busy", ++working > 0);
  try {
    await action();
  } catch (error) {
    say(sentence(error), id);
    $(id ?? "status").closest("details")?.setAttribute("open", "");
  } finally {
    $("view").classList.toggle("busy", --working > 0);
  }
}

/** @param {string} id @param {CanvasImageSource & {width: number, height: number}} image */
function draw(id, image) {
  /** @type {HTMLCanvasElement} */ const canvas = $(id);
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d")?.drawImage(image, 0, 0);
}

const render = alwaysLast(() => attempt(async () => {
  if (webcam.running || !chosen) return;
  const name = title();
  const result = await client.call("stylize", { recipe: recipe(), size: $("size").valueAsNumber, keepColor: $("keep-color").checked });
  draw("after", result.bitmap);
  result.bitmap.close();
  $("view").classList.remove("loading");
  $("after").setAttribute("aria-label", `The photo in the style ${name}`);
  $("after").dataset.rendered = String(Number($("after").dataset.rendered ?? 0) + 1);
  say(`${name}. ${result.width} x ${result.height} pixels in ${duration(result.ms / 1000)}.`);
}));

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  return seconds < 90 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} min`;
}

/** @param {string} text */
const plain = (text) => text.replace(/\.[^.]*$/, "").replaceAll("_", " ");

// ---- photo, webcam

/** @param {Blob} file @param {string} name @param {boolean} own */
async function openPhoto(file, name, own) {
  stopWebcam();
  const { bitmap } = await client.call("photo", { file, name, own });
  photoName = plain(name);
  photo?.close();
  photo = bitmap;
  draw("before", bitmap); // the result is shown at the photo's proportions before it is there
  await render();
}

/** @param {ImageBitmap} frame */
async function showFrame(frame) {
  const width = frame.width;
  const { bitmap, ms } = await client.call("stylize", { frame, recipe: recipe(), size: 0, keepColor: $("keep-color").checked });
  if (webcam.running) {
    draw("after", bitmap);
    draw("before", webcam.video);
    $("view").classList.remove("loading");
    say(`${title()}, live: ${width} pixels wide, ${(1000 / ms).toFixed(1)} images a second.`);
  }
  bitmap.close();
  return ms;
}

function stopWebcam() {
  webcam.stop();
  $("webcam").setAttribute("aria-pressed", "false");
  $("status").ariaLive = "polite";
}

// ---- styles

/** @param {string} id @param {string} name @param {HTMLElement} image */
function addTile(id, name, image) {
  names.set(id, name);
  const tile = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: id });
  tile.className = "tile";
  tile.append(radio, image, name);
  const legend = $("styles").querySelector("legend");
  if (id.startsWith("own-")) legend?.after(tile);
  else $("styles").append(tile);
  for (const select of [$("first"), $("second"), ...corners]) {
    select.append(Object.assign(document.createElement("option"), { value: id, textContent: name }));
  }
}

/** @param {{id: string, name: string}} style @param {File} [artwork] */
async function addOwn({ id, name }, artwork) {
  let image = Object.assign(document.createElement("span"), { className: "none", textContent: name.slice(0, 1) });
  if (artwork) {
    const small = await createImageBitmap(artwork, { resizeHeight: 184, resizeQuality: "medium" });
    image = Object.assign(document.createElement("canvas"), { width: small.width, height: small.height });
    /** @type {HTMLCanvasElement} */ (image).getContext("2d")?.drawImage(small, 0, 0);
    small.close();
  }
  image.setAttribute("aria-hidden", "true");
  addTile(id, name, image);
  $("second").value = id;
  return choose(id);
}

/** @param {string} id */
function choose(id) {
  chosen = id;
  shown = "style";
  $("name").value = names.get(id) ?? "";
  for (const radio of $("styles").querySelectorAll("input")) radio.checked = radio.value === id;
  $("refinement").hidden = id !== refined;
  return render();
}

// ---- an artwork: predicted at once, then refined

/** @param {File} file */
async function openArtwork(file) {
  await client.call("stop");
  const style = await client.call("artwork", { file, name: file.name });
  refined = style.id;
  [$("step").max, $("step").value] = ["0", "0"];
  say("The predicted style.", "refine-status");
  await addOwn(style, file);
  refine(style.id);
}

/** @param {string} id */
async function refine(id) {
  const steps = Number($("steps").value);
  /** @type {number[]} */ const losses = [];
  let rendered = 0;
  toggle(true);
  say(`Step 0 of ${steps}: preparing.`, "refine-status");
  try {
    const { index } = await client.call("refine", { id, steps }, ({ index, losses: loss, left }) => {
      losses.push(loss.total);
      if (id !== refined) return;
      [$("step").max, $("step").value] = [String(index), String(index)];
      const terms = `Loss ${loss.total.toPrecision(3)}: content ${loss.content.toPrecision(3)}, style ${loss.style.toPrecision(3)}.`;
      say(`Step ${index} of ${steps}, ${duration(left)} left. ${terms}`, "refine-status");
      plot(losses, steps);
      say(String(index), "step-value");
      if (performance.now() - rendered < 2500 || chosen !== id) return; // previews take time from the steps
      rendered = performance.now();
      render();
    });
    const stopped = index < steps ? `Stopped at step ${index}, which is kept.` : `Refined in ${index} steps.`;
    if (id === refined) say(stopped, "refine-status");
  } catch (error) {
    if (id === refined) say(sentence(error), "refine-status");
  }
  if (id === refined) toggle(false);
  if (chosen === id) await render();
}

/** @param {boolean} running */
function toggle(running) {
  $("refine").hidden = running;
  $("stop").hidden = !running;
  $("refine-status").ariaLive = running ? "off" : "polite"; // a sentence for each step would be too much to listen to
  $("step").disabled = $("steps").disabled = running;
}

/** @param {number[]} losses @param {number} steps */
function plot(losses, steps) {
  const logs = losses.map(Math.log);
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const point = (/** @type {number} */ y, /** @type {number} */ i) =>
    `${(300 * i) / Math.max(1, steps - 1)},${(55 - 50 * ((y - low) / (high - low || 1))).toFixed(1)}`;
  $("curve").querySelector("polyline")?.setAttribute("points", logs.map(point).join(" "));
  $("curve").setAttribute("aria-label", `Loss by step: from ${losses[0].toPrecision(3)} to ${losses.at(-1)?.toPrecision(3)}`);
}

// ---- save

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveImage() {
  const webcamShot = webcam.running && (await new Promise((resolve) => /** @type {HTMLCanvasElement} */ ($("after")).toBlob(resolve, "image/jpeg", 0.95)));
  const blob = webcamShot || (await client.call("saveImage", { recipe: recipe(), size: $("size").valueAsNumber, keepColor: $("keep-color").checked }));
  download(blob, `${photoName}-${title()}`.replace(/[^\p{L}\p{N}-]+/gu, "-") + (blob.type === "image/png" ? ".png" : ".jpg"));
}

async function saveStyle() {
  const { blob, folder } = await client.call("saveStyle", { recipe: recipe(), name: $("name").value.trim() || title() });
  download(blob, `${folder}.zip`);
  say(`Saved. In Python: MetaStyle.from_pretrained("${folder}") loads the unpacked folder.`, "keep-status");
}

async function push() {
  account ??= await signIn();
  const { files, folder, fingerprint } = await client.call("styleFiles", { recipe: recipe(), name: $("name").value.trim() || title() });
  say(`Pushing to ${account.name}/${folder} …`, "keep-status");
  say(`Shared: ${await pushStyle(account, folder, files, fingerprint)}`, "keep-status");
}

/** @param {File} file @param {boolean} artwork */
function take(file, artwork) {
  if (/\.zip$/i.test(file.name)) {
    return attempt(async () => {
      await addOwn(await client.call("openStyle", { file, name: file.name }));
      say("Opened.", "keep-status");
    }, "keep-status");
  }
  return attempt(() => (artwork ? openArtwork(file) : openPhoto(file, file.name, true)));
}

/** @param {string} repo */
function addFromHub(repo) {
  return attempt(async () => {
    await addOwn(await client.call("hub", { repo }));
    say("Added.", "keep-status");
  }, "keep-status");
}

// ---- events

/** @param {string} id @param {"style" | "mix" | "corners"} [kind] what a change of this control shows */
function live(id, kind) {
  $(id).addEventListener("input", () => {
    say($(id).value, `${id}-value`);
    if (kind) shown = kind;
    if (kind) $("name").value = title();
    render();
  });
}

function connect() {
  for (const id of ["photo", "artwork", "zip"]) {
    $(id).addEventListener("change", () => {
      const [file] = $(id).files ?? [];
      if (file) take(file, id === "artwork");
      $(id).value = ""; // so that the same file can be chosen again
    });
  }
  $("divider").addEventListener("input", () => $("view").style.setProperty("--cut", `${$("divider").value}%`));
  live("strength");
  live("size");
  live("blend", "mix");
  live("across", "corners");
  live("down", "corners");
  $("keep-color").addEventListener("change", render);
  for (const id of ["first", "second"]) $(id).addEventListener("change", () => { shown = "mix"; render(); });
  for (const corner of corners) corner.addEventListener("change", () => { shown = "corners"; render(); });
  $("styles").addEventListener("change", (event) => choose(/** @type {HTMLInputElement} */ (event.target).value));
  $("webcam").addEventListener("click", () => attempt(async () => {
    if (webcam.running) {
      stopWebcam();
      if (photo) draw("before", photo);
      return render();
    }
    await webcam.start(400);
    $("webcam").setAttribute("aria-pressed", "true");
    $("status").ariaLive = "off";
  }));
  $("save-image").addEventListener("click", () => attempt(saveImage));
  $("save-style").addEventListener("click", () => attempt(saveStyle, "keep-status"));
  $("push").addEventListener("click", () => attempt(push, "keep-status"));
  $("keep-mix").addEventListener("click", () => attempt(async () => {
    await addOwn(await client.call("keepMix", { recipe: recipe(), name: title().slice(0, 60) }));
  }));
  $("refine").addEventListener("click", () => refine(refined));
  $("stop").addEventListener("click", () => client.call("stop"));
  $("step").addEventListener("input", () => attempt(async () => {
    say($("step").value, "step-value");
    await client.call("seek", { id: refined, index: $("step").valueAsNumber });
    await choose(refined);
  }));
  $("hub").addEventListener("submit", (event) => {
    event.preventDefault();
    addFromHub($("repo").value);
  });
  const pad = $("pad");
  pad.addEventListener("pointerdown", (event) => pad.setPointerCapture(event.pointerId));
  for (const type of ["pointerdown", "pointermove"]) {
    pad.addEventListener(type, (event) => {
      const { buttons, clientX, clientY } = /** @type {PointerEvent} */ (event);
      const { left, top, width, height } = pad.getBoundingClientRect();
      if (!buttons) return;
      $("across").valueAsNumber = (clientX - left) / width;
      $("down").valueAsNumber = (clientY - top) / height;
      $("across").dispatchEvent(new Event("input"));
      $("down").dispatchEvent(new Event("input"));
    });
  }
  for (const [id, variable] of [["across", "--x"], ["down", "--y"]]) {
    $(id).addEventListener("input", () => pad.querySelector("span")?.style.setProperty(variable, $(id).value));
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  for (const type of ["drop", "dragleave", "dragend"]) addEventListener(type, () => document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer?.files ?? [];
    if (file) take(file, $("style-panel").contains(/** @type {Node} */ (event.target)));
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) take(file, false);
  });
}

/** @param {string} path */
async function openExample(path) {
  const response = await fetch(`model/${path}`);
  await openPhoto(await response.blob(), path.split("/").at(-1) ?? path, false);
}

/** @param {{contents: string[], styles: string[], steps: number[], defaultSteps: number}} found */
function fill({ contents, styles, steps, defaultSteps }) {
  for (const path of contents) {
    const name = plain(path.split("/").at(-1) ?? path);
    const button = Object.assign(document.createElement("button"), { type: "button", ariaLabel: `Photo: ${name}` });
    button.append(Object.assign(new Image(), { src: `thumbs/${name}.jpg`, alt: "", loading: "lazy" }));
    button.addEventListener("click", () => attempt(() => openExample(path)));
    $("contents").append(button);
  }
  for (const name of styles) {
    addTile(name, plain(name), Object.assign(new Image(), { src: `thumbs/${name}.jpg`, alt: "", loading: "lazy" }));
  }
  for (const [i, select] of [$("first"), $("second"), ...corners].entries()) select.value = styles[(5 * i) % styles.length];
  for (const count of steps) $("steps").append(new Option(String(count), String(count), count === defaultSteps));
  $("steps").value = String(defaultSteps);
}

async function start() {
  if (await finishSignIn()) return;
  $("push").hidden = !canSignIn();
  const backend = address.get("backend") ?? undefined;
  const found = await client.call("open", { backend });
  say(`This page runs on ${found.device}.`, "device");
  $("own-tab").hidden = crossOriginIsolated || window.top === window;
  if (found.gpu) $("size").value = "512";
  say($("size").value, "size-value");
  fill(found);
  for (const id of ["save-image", "save-style"]) /** @type {HTMLButtonElement} */ (/** @type {unknown} */ ($(id))).disabled = false;
  chosen = found.styles.includes("stained_glass") ? "stained_glass" : found.styles[0];
  const photo = found.contents.find((/** @type {string} */ path) => path.includes("temple")) ?? found.contents[0];
  await openExample(photo);
  await choose(chosen);
  const repo = address.get("style");
  if (repo) await addFromHub(repo);
  document.body.dataset.ready = "true";
  keepOffline().catch((error) => console.warn("The page is not kept for use without a network", error));
}

async function keepOffline() {
  const files = navigator.onLine && await fetch("files.json", { cache: "no-store" }).then((response) => response.json()).catch(() => null);
  if (!files || !navigator.serviceWorker) return; // without a network the page comes from there
  await navigator.serviceWorker.register(`service-worker.js?${files.version}`);
  const { active } = await navigator.serviceWorker.ready;
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise((resolve) => port1.addEventListener("message", resolve));
  port1.start();
  active?.postMessage(await client.call("runtimeFiles"), [port2]);
  await kept;
  document.body.dataset.offline = "true";
}

connect();
attempt(start);
