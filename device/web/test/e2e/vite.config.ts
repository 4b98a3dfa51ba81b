import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** The harness as the page is built: the same target, chunks and Worker. */
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "./",
  worker: { format: "es" },
  build: {
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: { input: { harness: fileURLToPath(new URL("harness.html", import.meta.url)) } },
  },
});
