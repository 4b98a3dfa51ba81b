/**
 * The service worker: the page's own files from the cache, and nothing else.
 *
 * The page itself is asked for over the network first, and where that fails (no network, a captive portal) the one that
 * was kept is shown. Files whose names change with their content come from the cache once they are there. Whatever is
 * not one of the page's files, the whole of `/v1` above all, is none of its business: it never sees a cache.
 */

export {}; // a module, so that its own self is of the right kind
declare const self: ServiceWorkerGlobalScope;

/** What opens without a network, put here by the build; and a name that changes with it. */
const SHELL = JSON.parse("__SKERRY_SHELL__") as { readonly version: string; readonly files: readonly string[] };
const OURS = "skerry-page-";
const CACHE = OURS + SHELL.version;
const PAGE = "./";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(SHELL.files)).then(() => self.skipWaiting())); // prettier-ignore
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const scope = new URL(self.registration.scope);
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
  const name = url.pathname.slice(scope.pathname.length);
  if (request.mode === "navigate" && (name === "" || name === "index.html")) event.respondWith(page(request));
  else if (name.startsWith("assets/")) event.respondWith(keptOrFetched(request));
  else if (SHELL.files.includes(`./${name}`)) event.respondWith(fetch(request).catch(() => kept(request)));
});

async function page(request: Request): Promise<Response> {
  try {
    const answer = await fetch(request);
    // a captive portal answers in the gateway's place, an ill gateway without the page
    if (answer.ok && !answer.redirected) return answer;
  } catch {
    // no network
  }
  return kept(PAGE);
}

async function keptOrFetched(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const there = await cache.match(request);
  if (there !== undefined) return there;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone()).catch(() => undefined); // no room: it is fetched again
  return answer;
}

async function kept(request: Request | string): Promise<Response> {
  return (await (await caches.open(CACHE)).match(request)) ?? Response.error();
}

async function dropOthers(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(OURS) && name !== CACHE).map((name) => caches.delete(name)));
}
