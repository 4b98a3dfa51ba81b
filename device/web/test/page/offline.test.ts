/** The built page opens without a network once it was there, and its cache holds files of the page alone. */

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build } from "vite";
import { executablePath, launched, serving } from "./chromium.ts";

let folder: string;
let server: Server;
let url: string;
let browser: Browser;

describe.skipIf(executablePath === undefined)("without a network", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skerry-offline-"));
    await build({ logLevel: "error", build: { outDir: folder } });
    ({ server, url } = await serving(folder));
    browser = await launched();
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("opens, and has kept nothing that is not the page's", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(url);
    const shown = page.getByRole("heading", { name: "Join with an invitation" });
    await shown.waitFor({ timeout: 20_000 });
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null, null, { timeout: 20_000 });
    await page.evaluate(() => fetch("/v1/revocations"));
    await context.setOffline(true);
    await page.reload();
    await shown.waitFor({ timeout: 20_000 });
    const kept = await page.evaluate(async () => {
      const names = (await caches.keys()).filter((name) => name.startsWith("skerry-page-"));
      const found = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
      return found.flat().map((request) => new URL(request.url).pathname);
    });
    expect(kept).toContain("/phone/");
    expect(kept.filter((path) => !path.startsWith("/phone/"))).toEqual([]);
  });
});
