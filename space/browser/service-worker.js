/** Keeps the page for use without a network, and isolates it where the server does not, so that threads work. */

const scope = /** @type {any} */ (self);
const version = new URL(scope.location.href).search;
const cacheName = `metastyle${version}`;

scope.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil((async () => {
    const { offline } = await (await fetch("files.json", { cache: "no-store" })).json();
    const cache = await caches.open(cacheName);
    await cache.addAll(offline.map((/** @type {string} */ path) => new Request(path, { cache: "no-cache" })));
  })());
});

scope.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith("metastyle?") && name !== cacheName) await caches.delete(name);
    await scope.clients.claim();
  })());
});

// the page tells which of the runtime's files this device uses
scope.addEventListener("message", (/** @type {any} */ event) => {
  const kept = caches.open(cacheName).then((cache) => cache.addAll(event.data));
  event.waitUntil(kept.then(() => event.ports[0].postMessage("kept")));
});

scope.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method !== "GET" || address.origin !== scope.location.origin) return;
  if (address.pathname.endsWith("/files.json")) return; // decides whether there is a new version
  event.respondWith(answer(request));
});

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(cacheName);
  const response = (await cache.match(request, { ignoreSearch: true })) ?? (await fetch(request));
  if (response.type === "opaque" || response.status !== 200) return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  headers.set("cross-origin-resource-policy", "cross-origin");
  return new Response(response.body, { status: 200, headers });
}
