/**
 * Every state of the page in a real browser at a phone's size, in light and dark: nobody is kept out, nothing sticks out.
 *
 * With SKERRY_PICTURES=1 the states are also written to `docs/phone/` and the icons to `public/`.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import type { Server } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build } from "vite";
import { executablePath, launched, serving } from "./chromium.ts";
import { STATES } from "./states.ts";

const SIZE = { width: 360, height: 740 };
const LOOK = { hasTouch: true, locale: "en-GB", timezoneId: "UTC" };
/** Of these a picture is kept in dark, too. */
const IN_DARK = new Set(["invited", "teach", "examples", "rounds", "privacy", "leave"]);
const PICTURES =
  process.env["SKERRY_PICTURES"] === undefined ? null : new URL("../../../../docs/phone/", import.meta.url);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let folder: string;
let server: Server;
let url: string;
let browser: Browser;
let page: Page;

describe.skipIf(executablePath === undefined)("every state", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skerry-stories-"));
    await build({
      configFile: false,
      logLevel: "error",
      root: fileURLToPath(new URL(".", import.meta.url)),
      base: "./",
      publicDir: fileURLToPath(new URL("../../public", import.meta.url)),
      build: {
        outDir: folder,
        emptyOutDir: true,
        target: "es2022",
        assetsInlineLimit: 0,
        rolldownOptions: { input: fileURLToPath(new URL("stories.html", import.meta.url)) },
      },
    });
    ({ server, url } = await serving(folder));
    browser = await launched();
    // one page for all states: each loads it anew, and a phone in memory leaves nothing behind
    const context = await browser.newContext({ ...LOOK, viewport: SIZE, reducedMotion: "reduce" });
    await context.addInitScript(AXE);
    page = await context.newPage();
    if (PICTURES !== null) mkdirSync(PICTURES, { recursive: true });
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.for(Object.keys(STATES))("%s", async (state) => {
    const [story, walk] = STATES[state] ?? [""];
    await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
    await page.goto(`${url}stories.html?${state}#${story}`); // behind the `#` alone it would be no other page
    await page.locator("header").waitFor();
    await walk?.(page);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      expect(await faults(colorScheme === "light" ? undefined : ["color-contrast"])).toEqual([]);
      if (PICTURES !== null && (colorScheme === "light" || IN_DARK.has(state))) {
        const name = colorScheme === "light" ? `${state}.png` : `${state}-dark.png`;
        await page.screenshot({ path: fileURLToPath(new URL(name, PICTURES)) });
      }
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
    expect(await smallTargets()).toEqual([]);
  });

  it("draws its icons from the one mark", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    for (const side of [192, 512]) {
      await page.setViewportSize({ width: side, height: side });
      await page.goto(`${url}icon.svg`);
      const drawn = await page.screenshot({ omitBackground: true });
      const file = new URL(`../../public/icon-${side}.png`, import.meta.url);
      if (PICTURES !== null) writeFileSync(file, drawn);
      const kept = readFileSync(file);
      expect([kept.readUInt32BE(16), kept.readUInt32BE(20)]).toEqual([side, side]); // as the manifest says
    }
    await context.close();
  });
});

/** What axe finds that keeps people out, or hinders them seriously; by all of its rules, or by some. */
async function faults(rules?: string[]): Promise<readonly string[]> {
  const found = await page.evaluate(async (runOnly) => {
    const { axe: checker } = globalThis as unknown as { axe: typeof axe };
    const options = { resultTypes: ["violations" as const], preload: false, ...(runOnly !== undefined && { runOnly }) };
    return (await checker.run(options)).violations;
  }, rules);
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

/** Buttons and fields that are too small for a finger. */
async function smallTargets(): Promise<readonly string[]> {
  return page.evaluate(() =>
    [
      ...document.querySelectorAll<HTMLElement>(
        "button, input:not(.unseen, [type=checkbox]), label.button, label.check",
      ),
    ]
      .filter((element) => element.checkVisibility())
      .map((element) => ({ element, box: element.getBoundingClientRect() }))
      .filter(({ box }) => box.width < 44 || box.height < 44)
      .map(({ element, box }) => `${element.outerHTML.slice(0, 60)} ${box.width}x${box.height}`),
  );
}
