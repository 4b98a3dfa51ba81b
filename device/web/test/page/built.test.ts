/**
 * The built page where no federation answers: without a network, in two tabs at once, and opened by links that are no
 * invitations.
 */

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { build } from "vite";
import { toBase64Url } from "../../src/bytes.ts";
import { encode, mapOf } from "../../src/canonical/index.ts";
import { executablePath, launched, serving } from "./chromium.ts";

const PATIENCE_MS = 180_000;

let folder: string;
let server: Server;
let url: string;
let browser: Browser;
let context: BrowserContext;

/** An invitation's word as an operator's program would write it, of whatever address and time. */
function invitation(address: string, expires: number): string {
  const fields = { federation: "harbour", address, role: "device", device_class: "phone", expires };
  const secret = { token: new Uint8Array(16), root: new Uint8Array(32) };
  return `skerry-enrol:${toBase64Url(encode(mapOf({ ...fields, ...secret })))}`;
}

describe.skipIf(executablePath === undefined)("the built page", () => {
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

  beforeEach(async () => {
    context = await browser.newContext(); // nothing is kept from before
  });

  afterEach(async () => {
    await context.close();
  });

  it("opens without a network, and has kept nothing that is not the page's", async () => {
    const page = await context.newPage();
    await page.goto(url);
    const shown = page.getByRole("heading", { name: "Join with an invitation" });
    await shown.waitFor({ timeout: PATIENCE_MS });
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null, null, { timeout: PATIENCE_MS });
    await page.evaluate(() => fetch("/v1/revocations"));
    await context.setOffline(true);
    await page.reload();
    await shown.waitFor({ timeout: PATIENCE_MS });
    const kept = await page.evaluate(async () => {
      const names = (await caches.keys()).filter((name) => name.startsWith("skerry-page-"));
      const found = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
      return found.flat().map((request) => new URL(request.url).pathname);
    });
    expect(kept).toContain("/phone/");
    expect(kept.filter((path) => !path.startsWith("/phone/"))).toEqual([]);
  });

  it("says in a second tab that the first one has the phone, and shows the phone when that is closed", async () => {
    const [first, second] = [await context.newPage(), await context.newPage()];
    await first.goto(url);
    await first.getByRole("heading", { name: "Join with an invitation" }).waitFor();
    await second.goto(url);
    await second.getByText("open on another page").waitFor();
    await first.close();
    await second.getByRole("heading", { name: "Join with an invitation" }).waitFor({ timeout: PATIENCE_MS });
    expect(await second.getByText("open on another page").count()).toBe(0);
  });

  it.each([
    ["is no escape", "100%"],
    ["has an address that is none", invitation("not an address", Date.now() + 3_600_000)],
    ["ends on a day that no calendar has", invitation("https://fleet.example", Number.MAX_SAFE_INTEGER)],
  ])("opens by a link that %s", async (_, fragment) => {
    const page = await context.newPage();
    await page.goto(`${url}#${fragment}`);
    for (let time = 0; time < 2; time++) {
      await page.getByRole("heading", { name: /^Join/ }).waitFor({ timeout: PATIENCE_MS });
      expect(new URL(page.url()).hash).toBe("");
      await page.reload(); // the tab remembers an invitation
    }
  });

  it("says once that a link is no invitation", async () => {
    const page = await context.newPage();
    await page.goto(`${url}#100%`);
    await page.getByText("This is not an invitation.").waitFor({ timeout: PATIENCE_MS });
    await page.reload();
    await page.getByLabel("Invite link").waitFor({ timeout: PATIENCE_MS });
    expect(await page.getByText("This is not an invitation.").count()).toBe(0);
  });
});
