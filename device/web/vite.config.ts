import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { packed, shell } from "./shell.ts";

/** Where packaging looks for the built page: see docs/adr/0054. */
const PAGE = fileURLToPath(new URL("../../server/gateway/web-page", import.meta.url));
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  base: "./",
  plugins: [shell(), packed()],
  build: {
    outDir: PAGE,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.txt" }, // the minified files have no room for those of what is in them
    assetsInlineLimit: 0, // a strict Content-Security-Policy allows no data: scripts or styles
    rolldownOptions: {
      input: { index: here("index.html"), check: here("check.html"), sw: here("src/page/service/worker.ts") },
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  worker: { format: "es" },
  test: { include: ["test/**/*.test.ts"], testTimeout: 600_000, hookTimeout: 600_000 },
});
