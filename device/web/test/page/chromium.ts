/** A headless Chromium at a phone's size, and a server with the very headers that the gateway sends. */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { extname, join } from "node:path";
import { chromium, type Browser } from "playwright-core";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const GATEWAY = new URL("../../../../server/gateway/web_page.py", import.meta.url);

/** Where Chromium is; undefined where there is none. */
export const executablePath = BROWSERS.find((path) => existsSync(path));

/** A camera that shows a moving test picture; permission is asked for as ever. */
const CAMERA = "--use-fake-device-for-media-stream";

export async function launched(...more: readonly string[]): Promise<Browser> {
  if (executablePath === undefined) throw new Error("there is no Chromium");
  const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // a container's root has no other way
  return chromium.launch({ executablePath, args: [...sandbox, "--disable-gpu", CAMERA, ...more] });
}

/** The policy and the kinds of files as the gateway's own code has them. */
export function gatewayHas(): { readonly policy: string; readonly kinds: Readonly<Record<string, string>> } {
  const code = readFileSync(GATEWAY, "utf8");
  const policy = /^_POLICY = \(\n((?: +"[^"]*"\n)+)\)$/m.exec(code)?.[1];
  const kinds = /^_KINDS = \{\n((?: +"[^"]*": "[^"]*",\n)+)\}$/m.exec(code)?.[1];
  const wasm = /^_WASM = "([^"]*)"$/m.exec(code)?.[1]; // what the phone's page may do beside the console's
  if (policy === undefined || kinds === undefined || wasm === undefined) {
    throw new Error("the gateway's code has no policy or no kinds");
  }
  const parts = [...policy.matchAll(/"([^"]*)"/g)].map(([, part]) => part);
  return {
    policy: parts.join("").replace("{scripts}", wasm),
    kinds: Object.fromEntries(
      [...kinds.matchAll(/"([^"]*)": "([^"]*)"/g)].map(([, name = "", kind = ""]) => [name, kind]),
    ),
  };
}

/** Serve a folder at `/phone/` on 127.0.0.1. */
export async function serving(folder: string): Promise<{ readonly server: Server; readonly url: string }> {
  const { policy, kinds } = gatewayHas();
  const server = createServer((request, response) => {
    const name = new URL(request.url ?? "", "http://localhost").pathname.replace(/^\/phone\//, "");
    const file = join(folder, name === "" ? "index.html" : name);
    const found = file.startsWith(folder) && existsSync(file);
    response.writeHead(found ? 200 : 404, {
      "content-type": kinds[extname(file)] ?? "application/octet-stream",
      "content-security-policy": policy,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "cross-origin-resource-policy": "same-origin",
    });
    response.end(found ? readFileSync(file) : "");
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return { server, url: `http://127.0.0.1:${address.port}/phone/` };
}
