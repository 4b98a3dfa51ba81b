/** The service worker that keeps the page's own files, so that it opens without a network. */

/** Register it; the page works without it, too. */
export async function keepOffline(): Promise<void> {
  const workers = (navigator as { readonly serviceWorker?: ServiceWorkerContainer }).serviceWorker;
  if (workers === undefined) return;
  // refused where the certificate is not trusted, or in a private window: then there is no page without a network
  await workers.register("./sw.js", { updateViaCache: "none" }).catch(() => undefined);
}
