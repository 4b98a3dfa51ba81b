/** What the build adds to the page: the service worker's list of files, and every file once more under Brotli. */

import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import type { Plugin, Rolldown } from "vite";

const PLACE = /(["'`])__SKERRY_SHELL__\1/; // quoted as the minifier likes
const WORKER = "sw.js";
const SCRIPT = /^assets\/.*\.m?js$/;
/** Files of the page that are not made anew at each build. */
const FIXED = ["./manifest.webmanifest", "./icon.svg", "./icon-192.png"];
const LARGE = 1 << 20;
const PACKED = new Set([".html", ".js", ".mjs", ".css", ".txt", ".wasm", ".svg", ".webmanifest"]);

/**
 * Tells the service worker which files open the page without a network: the page, and what it loads at its start. What is
 * large or comes later is kept once it was loaded. The version changes whenever one of these files does.
 */
export function shell(): Plugin {
  return {
    name: "skerry-shell",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const worker = bundle[WORKER];
        if (worker?.type !== "chunk" || !PLACE.test(worker.code)) throw new Error("there is no service worker");
        const page = Object.values(bundle).find((one) => one.type === "chunk" && one.isEntry && one.name === "index");
        if (page?.type !== "chunk") throw new Error("there is no page");
        const checking = reached(bundle, "check");
        const wanted = Object.keys(bundle).filter((name) => SCRIPT.test(name) && !checking.has(name));
        const styles = [...(page.viteMetadata?.importedCss ?? [])];
        const files = [
          "./",
          ...FIXED,
          ...[...reached(bundle, "index"), ...wanted, ...styles].map((name) => `./${name}`),
        ];
        const version = createHash("sha256").update(JSON.stringify(files));
        for (const one of Object.values(bundle)) {
          if (one.type === "asset" && one.fileName.endsWith(".html")) version.update(one.source);
        }
        const told = JSON.stringify({ version: version.digest("hex").slice(0, 16), files: [...new Set(files)] });
        worker.code = worker.code.replace(PLACE, () => JSON.stringify(told));
      },
    },
  };
}

/** The scripts that an entry loads, now or later. */
function reached(bundle: Rolldown.OutputBundle, entry: string): ReadonlySet<string> {
  const found = new Set<string>();
  const go = (name: string): void => {
    const one = bundle[name];
    if (found.has(name) || one?.type !== "chunk") return;
    found.add(name);
    for (const next of [...one.imports, ...one.dynamicImports]) go(next);
  };
  for (const one of Object.values(bundle))
    if (one.type === "chunk" && one.isEntry && one.name === entry) go(one.fileName);
  return found;
}

/** Packs what a browser reads, where that makes it smaller; the gateway sends it to those that take it. */
export function packed(): Plugin {
  let folder = "";
  return {
    name: "skerry-packed",
    configResolved(config) {
      folder = config.build.outDir;
    },
    async closeBundle() {
      const names = await readdir(folder, { recursive: true }).catch((): string[] => []);
      for (const name of names.filter((one) => PACKED.has(extname(one)))) {
        const content = await readFile(join(folder, name));
        const quality = content.length > LARGE ? 9 : 11; // the best takes a minute for a large one
        const small = await promisify(brotliCompress)(content, {
          params: { [constants.BROTLI_PARAM_QUALITY]: quality },
        });
        if (small.length < content.length) await writeFile(join(folder, `${name}.br`), small);
      }
    },
  };
}
