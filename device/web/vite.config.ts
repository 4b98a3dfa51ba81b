import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Where packaging looks for the built page: see docs/adr/0054. */
const PAGE = fileURLToPath(new URL("../../server/gateway/web-page", import.meta.url));

export default defineConfig({
  base: "./",
  worker: { format: "es" },
  build: {
    outDir: PAGE,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.txt" }, // the minified files have no room for those of what is in them
    assetsInlineLimit: 0, // a strict Content-Security-Policy allows no data: scripts or styles
    rolldownOptions: { input: { check: fileURLToPath(new URL("check.html", import.meta.url)) } },
  },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
