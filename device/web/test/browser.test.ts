/** The built page in a real browser, under the policy that it will be served with: every vector holds there too. */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { build } from "vite";
import { executablePath, gatewayHas, launched } from "./page/chromium.ts";

if (executablePath === undefined)
  process.stderr.write("there is no Chromium here: the page is not tried in a browser\n");
const KINDS: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

const PATIENCE_MS = 180_000;

let folder: string;
let server: Server | undefined;
/** Files that the server does not find. */
let lost = /^$/;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-web-"));
  await build({ logLevel: "error", build: { outDir: join(folder, "page") } });
  const serving = createServer((request, response) => {
    const file = join(folder, "page", new URL(request.url ?? "", "http://localhost").pathname);
    const found = file.startsWith(join(folder, "page")) && existsSync(file) && !lost.test(file);
    response.writeHead(found ? 200 : 404, {
      "content-type": KINDS[extname(file)] ?? "application/octet-stream",
      "content-security-policy": gatewayHas().policy,
    });
    response.end(found ? readFileSync(file) : "");
  });
  await new Promise<void>((ready) => serving.listen(0, "127.0.0.1", ready));
  server = serving;
});

afterAll(() => {
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

it("comes with the licences of what is in it", () => {
  const licences = readFileSync(join(folder, "page", "licenses.txt"), "utf8");
  for (const name of ["@hpke/core", "@hpke/common", "@noble/ciphers", "@noble/hashes"])
    expect(licences).toContain(name);
  expect(licences.match(/Permission is hereby granted, free of charge/g)?.length).toBeGreaterThanOrEqual(4);
});

describe.skipIf(executablePath === undefined)("in a browser", () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launched();
  });

  afterAll(async () => {
    await browser.close();
  });

  afterEach(() => {
    lost = /^$/;
  });

  /** What a browser shows once the page has done its work, or once it has loaded where it does none. */
  async function shown(works = true): Promise<{ readonly page: string; readonly verdict: string }> {
    const address = server?.address();
    if (address === undefined || address === null || typeof address === "string") throw new Error("no server");
    const page = await browser.newPage();
    try {
      await page.goto(`http://127.0.0.1:${address.port}/check.html`, { timeout: PATIENCE_MS });
      if (works) await page.waitForSelector("html[data-conformance]", { state: "attached", timeout: PATIENCE_MS });
      return { page: await page.content(), verdict: await page.locator("#verdict").innerText() };
    } finally {
      await page.close();
    }
  }

  it("computes every vector as Python does", async () => {
    const { page, verdict } = await shown();
    expect(verdict).toMatch(/^All \d{3,} cases are as in Python\.$/);
    expect(page).toContain('data-conformance="holds"');
  });

  it("says which file does not load, and computes the others", async () => {
    lost = /noise-[^/]*\.js$/;
    const { page, verdict } = await shown();
    expect(verdict).toMatch(
      /^1 of \d+ files could not be read; 0 of \d{3,} cases in the others are not as in Python\.$/,
    );
    expect(page).toMatch(/noise: it could not be read: [^<]{10}/);
    expect(page).toContain('data-conformance="fails"');
  });

  it("says that nothing was computed when its own script does not load", async () => {
    lost = /check-[^/]*\.js$/;
    expect((await shown(false)).verdict).toContain("has not run");
  });
});
