/** The built page in a real browser, under the policy that it will be served with: every vector holds there too. */

import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { build } from "vite";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const browser = BROWSERS.find((path) => existsSync(path));
if (browser === undefined) process.stderr.write("there is no Chromium here: the page is not tried in a browser\n");
const GATEWAY = new URL("../../../server/gateway/web_page.py", import.meta.url);
const KINDS: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

/** The policy as the gateway's own code has it. */
function policy(): string {
  const parts = /^_POLICY = \(\n((?: +"[^"]*"\n)+)\)$/m.exec(readFileSync(GATEWAY, "utf8"))?.[1];
  if (parts === undefined) throw new Error("the gateway's code has no policy");
  return [...parts.matchAll(/"([^"]*)"/g)].map(([, part]) => part).join("");
}

let folder: string;
let server: Server | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-web-"));
  await build({ logLevel: "error", build: { outDir: join(folder, "page") } });
  const serving = createServer((request, response) => {
    const file = join(folder, "page", new URL(request.url ?? "", "http://localhost").pathname);
    const found = file.startsWith(join(folder, "page")) && existsSync(file);
    response.writeHead(found ? 200 : 404, {
      "content-type": KINDS[extname(file)] ?? "application/octet-stream",
      "content-security-policy": policy(),
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

it.skipIf(browser === undefined)("computes every vector as Python does", async () => {
  const address = server?.address();
  if (browser === undefined || address === undefined || address === null || typeof address === "string")
    throw new Error("no server");
  const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // a container's root has no other way
  const { stdout } = await promisify(execFile)(
    browser,
    [
      "--headless",
      "--disable-gpu",
      ...sandbox,
      `--user-data-dir=${join(folder, "profile")}`,
      "--virtual-time-budget=120000",
      "--dump-dom",
      `http://127.0.0.1:${address.port}/check.html`,
    ],
    { timeout: 50_000, maxBuffer: 1 << 22 },
  );
  expect(/id="verdict"[^>]*>([^<]*)/.exec(stdout)?.[1]).toMatch(/^All \d{3,} cases are as in Python\.$/);
  expect(stdout).toContain('data-conformance="holds"');
});
