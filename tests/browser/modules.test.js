/** The modules of the page under Node, against files that test_modules.py wrote with Python, PyTorch and NumPy. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import * as image from "../../space/browser/src/image.js";
import { noiseField, noiseWindow } from "../../space/browser/src/noise.js";
import { readSafetensors, writeSafetensors } from "../../space/browser/src/safetensors.js";
import { interpolate, mixStyles, newStyle, readBase, readStyle, styleFiles } from "../../space/browser/src/style.js";
import { readZip, writeZip } from "../../space/browser/src/zip.js";

const file = (name) => new Uint8Array(readFileSync(`${process.env.REFERENCE}/${name}`));
const json = (name) => JSON.parse(new TextDecoder().decode(file(name)));
const reference = readSafetensors(file("reference.safetensors"), "the reference");
const value = (name) => reference.get(name).data;
const base = readBase(json("browser.json"), json("base/config.json"), file("base/model.safetensors"));
const named = (name) => ({ name: "MetaStyleError", message: name });

function largestDifference(a, b) {
  assert.equal(a.length, b.length);
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
}

function pixels(name) {
  const tensor = reference.get(name);
  return { width: tensor.shape[1], height: tensor.shape[0], data: Uint8ClampedArray.from(tensor.data) };
}

test("a safetensors file is written byte for byte as Python writes it", () => {
  const bytes = file("reference.safetensors");
  assert.deepEqual(writeSafetensors(readSafetensors(bytes, "it")), bytes);
});

test("half precision is read as the same numbers", () => {
  const halves = readSafetensors(file("halves.safetensors"), "it");
  for (const dtype of ["float16", "bfloat16", "float64"]) assert.deepEqual(halves.get(dtype).data, value("halves"));
});

test("a damaged safetensors file is refused", () => {
  const bytes = file("halves.safetensors");
  for (const damaged of [bytes.slice(0, 5), bytes.slice(0, -1), new Uint8Array(100), new Uint8Array([...bytes, 0])]) {
    assert.throws(() => readSafetensors(damaged, "x.safetensors"), named(/x\.safetensors is damaged/));
  }
});

test("a zip of Python is read, and a zip for Python is written", async () => {
  for (const name of ["stored.zip", "deflated.zip"]) {
    const files = await readZip(file(name), name, ["config.json", "model.safetensors"], 1e7);
    assert.deepEqual(files["model.safetensors"], file("style/model.safetensors"));
  }
  const style = readStyle(base, file("style/config.json"), file("style/model.safetensors"), "it");
  const zip = await writeZip({ "a/config.json": file("style/config.json"), "a/é": new Uint8Array(0) });
  assert.deepEqual(Object.keys(await readZip(zip, "it", ["config.json"], 1e7)), ["config.json"]);
  const mixed = newStyle(base, "<b>ünïcode</b>", mixStyles(base, [style], [1], 0.3), { mix: [{ name: "a", weight: 1 }] });
  const written = await writeZip(styleFiles(base, { ...mixed, config: { ...mixed.config, trainable: "decoder" } }));
  writeFileSync(`${process.env.REFERENCE}/written.zip`, written);
});

test("a zip that is none, that is cut off, or that unpacks to too much is refused", async () => {
  const zip = file("deflated.zip");
  const wanted = ["config.json", "model.safetensors"];
  const flipped = zip.slice();
  flipped[zip.length >> 1] ^= 255;
  for (const damaged of [new Uint8Array(0), new Uint8Array(500), zip.slice(0, -9), zip.slice(99), flipped]) {
    await assert.rejects(readZip(damaged, "x.zip", wanted, 1e7), named(/x\.zip is not a \.zip/));
  }
  await assert.rejects(readZip(zip, "x.zip", wanted, 1000), named(/x\.zip unpacks to/));
  const lies = zip.slice();
  const view = new DataView(lies.buffer);
  for (let at = 0; at < lies.length - 46; at++) if (view.getUint32(at, true) === 0x02014b50) view.setUint32(at + 24, 9, true);
  await assert.rejects(readZip(lies, "x.zip", wanted, 1000), named(/x\.zip unpacks to|not a \.zip/));
});

test("styles are read as Python reads them", () => {
  const style = readStyle(base, file("style/config.json"), file("style/model.safetensors"), "it");
  assert.deepEqual(style.vector, value("vector"));
  assert.equal(style.body, undefined);
  const norms = readStyle(base, file("norms/config.json"), file("norms/model.safetensors"), "it");
  assert.deepEqual(norms.vector, value("vector_norms"));
  const whole = readStyle(base, file("whole/config.json"), file("whole/model.safetensors"), "it");
  assert.ok(whole.body.has("encoder.0.conv.weight"));
  for (const [name, one] of Object.entries({ style, norms, whole })) {
    const files = styleFiles(base, one);
    assert.deepEqual(files["model.safetensors"], file(`${name}/model.safetensors`));
    assert.deepEqual(JSON.parse(new TextDecoder().decode(files["config.json"])), json(`${name}/config.json`));
  }
});

test("what is no style of this base is refused", () => {
  const config = json("style/config.json");
  const weights = file("style/model.safetensors");
  const read = (changes, tensors = weights) => {
    const changed = { ...config, ...changes };
    return () => readStyle(base, new TextEncoder().encode(JSON.stringify(changed)), tensors, "x");
  };
  assert.throws(() => readStyle(base, new Uint8Array([123]), weights, "x"), named(/config\.json in x is not JSON/));
  assert.throws(read({ kind: undefined }), named(/x is no metastyle_hub base or style/));
  assert.throws(read({ kind: "base" }), named(/x is a base/));
  assert.throws(read({ format_version: 2 }), named(/x has format 2/));
  assert.throws(read({ base_model: { fingerprint: "f".repeat(64) } }), named(/ffffffffffff/));
  assert.throws(read({ trainable: "some" }), named(/"some"/));
  assert.throws(read({ trainable: "all" }), named(/absent, but should be of shape/));
  const tensors = readSafetensors(weights, "it");
  const [name, tensor] = [...tensors][0];
  const changed = (value) => writeSafetensors(new Map([...tensors, [name, { ...tensor, ...value }]]));
  assert.throws(read({}, changed({ shape: [1, ...tensor.shape] })), named(new RegExp(`${name}.*\\(1, `)));
  assert.throws(read({}, changed({ data: tensor.data.map(() => NaN) })), named(/not finite/));
});

test("interpolation is PyTorch's, bit for bit", () => {
  const [a, b] = [value("vector"), value("vector_norms")];
  assert.deepEqual(interpolate([a, b], [1, 0]), a);
  assert.deepEqual(interpolate([a, b], [0.3, 0.7]), value("mix"));
  const style = newStyle(base, "a", a, {});
  assert.deepEqual(mixStyles(base, [style], [1], 0), base.vector);
  assert.deepEqual(mixStyles(base, [style], [1], 0.6), value("strength"));
});

test("noise is NumPy's, bit for bit", () => {
  for (const [name, spec] of Object.entries(json("browser.json").noise)) {
    const field = noiseField(spec);
    assert.deepEqual(field, value(name));
    assert.deepEqual(noiseWindow(field, spec, 5, 7, 250, 254), value(`${name}_window`));
  }
});

test("images are resized as PyTorch resizes them", () => {
  const photo = pixels("photo");
  for (const [name, size] of [["smaller", { width: 31, height: 20 }], ["larger", { width: 130, height: 111 }]]) {
    assert.ok(largestDifference(image.resize(photo, size).data, value(name)) < 1e-5);
  }
  const part = { left: 10, top: 3, width: 40, height: 40 };
  assert.ok(largestDifference(image.resize(photo, { width: 16, height: 16 }, part, "bilinear").data, value("crop")) < 1e-5);
  const long = image.stylePlanes(pixels("long"), 32);
  assert.deepEqual([3, long.height, long.width], reference.get("long_style").shape.slice(1));
  assert.ok(largestDifference(long.data, value("long_style")) < 1e-5);
});

test("padding, colors and rounding are the library's", () => {
  const padding = { multiple: 4, minimum: 32 };
  for (const name of ["photo", "dot"]) {
    const pixel = pixels(name);
    const planes = image.resize(pixel, pixel);
    const padded = image.pad(planes, padding);
    assert.deepEqual(padded.planes.data, value(`${name}_padded`));
    assert.deepEqual(image.toPixels(padded.planes, padded.part).data, pixel.data);
  }
  const stylized = value("stylized").slice();
  image.preserveColor(stylized, value("content"));
  assert.ok(largestDifference(stylized, value("preserved")) < 1e-6);
});

test("transparent pixels are white to the network, and transparent in the result", () => {
  const clear = { width: 2, height: 1, data: Uint8ClampedArray.from([0, 0, 0, 0, 255, 0, 0, 128]) };
  const planes = image.resize(clear, clear);
  assert.ok(largestDifference(planes.data, [1, 1, 1, 0.498, 1, 0.498]) < 2e-3);
  const back = image.toPixels(planes, { left: 0, top: 0, width: 2, height: 1 }, clear);
  assert.deepEqual([back.data[3], back.data[7]], [0, 128]);
});

test("the size of an image is known from its header", () => {
  for (const suffix of ["png", "jpg", "gif", "bmp"]) {
    assert.deepEqual(image.statedSize(file(`sized.${suffix}`)), { width: 70, height: 45 }, suffix);
  }
  assert.equal(image.statedSize(new Uint8Array(100)), null);
  assert.equal(image.statedSize(file("sized.jpg").slice(0, 40)), null);
});
