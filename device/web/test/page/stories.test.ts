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

/** What is done in a story before it is looked at. */
type Walk = (page: Page) => Promise<void>;

const tab =
  (name: string): Walk =>
  (page) =>
    page.getByRole("navigation").getByRole("button", { name }).click();

async function drawSeven(page: Page): Promise<void> {
  const box = await page.getByRole("application").boundingBox();
  if (box === null) throw new Error("there is no pad");
  const at = (x: number, y: number): readonly [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.3, 0.25));
  await page.mouse.down();
  await page.mouse.move(...at(0.7, 0.25), { steps: 6 });
  await page.mouse.move(...at(0.45, 0.8), { steps: 8 });
  await page.mouse.up();
  await page.getByText(/The model says/).waitFor();
}

const join_ = async (page: Page): Promise<void> => page.getByRole("button", { name: "Allow and join" }).click();

/** Each state: the story it is of, and what is done in it. */
const STATES: Readonly<Record<string, readonly [string, Walk?]>> = {
  none: ["none"],
  "not-an-invitation": [
    "none",
    async (page) => {
      await page.getByLabel("Invite link").fill("https://example.org");
      await page.getByRole("button", { name: "Read the invitation" }).click();
    },
  ],
  invited: ["invited"],
  late: ["late"],
  enrolling: ["enrolling", join_],
  refused: ["refused", join_],
  waiting: ["waiting"],
  first: ["first"],
  teach: ["member", drawSeven],
  "after-a-round": [
    "member",
    async (page) => {
      await drawSeven(page);
      await page.evaluate(() => {
        const { phone } = globalThis as unknown as {
          phone: { round: number; view: { rounds: { at: number }[] }; set: (change: object) => void };
        };
        phone.round = 4;
        phone.set({ rounds: [{ ...phone.view.rounds[0], round: 4, at: Date.now() }, ...phone.view.rounds] });
      });
      await page.getByText("Before round 4").waitFor();
    },
  ],
  kept: [
    "member",
    async (page) => {
      await drawSeven(page);
      await page.getByRole("button", { name: "Keep as 7" }).click();
      await page.getByText("Kept as 7.").waitFor();
    },
  ],
  camera: [
    "member",
    async (page) => {
      await page.context().grantPermissions(["camera"]);
      await page.getByRole("button", { name: "Photograph" }).click();
      await page.getByRole("button", { name: "Capture" }).and(page.locator(":enabled")).waitFor();
    },
  ],
  photographed: [
    "member",
    async (page) => {
      const count = await page.locator(".thumbnail").count();
      await page
        .locator("#picture-file")
        .setInputFiles(fileURLToPath(new URL("../../public/icon-192.png", import.meta.url)));
      await page.getByText(/The model says/).waitFor();
      await page.getByRole("button", { name: "Keep as 4" }).click();
      await page.getByText("Kept as 4.").waitFor();
      expect(await page.locator(".thumbnail").count()).toBe(count + 1);
    },
  ],
  "camera-refused": [
    "member",
    async (page) => {
      await page.context().clearPermissions();
      await page.getByRole("button", { name: "Photograph" }).click();
      await page.locator(".camera-message", { hasText: "The camera was not allowed" }).waitFor();
    },
  ],
  examples: ["member", tab("Examples")],
  "no-examples": ["first", tab("Examples")],
  rounds: ["training", tab("Rounds")],
  "no-rounds": ["first", tab("Rounds")],
  privacy: ["member", tab("Privacy")],
  evictable: ["evictable", tab("Privacy")],
  leave: [
    "member",
    async (page) => {
      await tab("Privacy")(page);
      await page.getByRole("button", { name: "Leave and erase" }).click();
      await page.getByRole("dialog").waitFor();
    },
  ],
  training: ["training"],
  fetching: ["fetching"],
  answering: ["answering"],
  paused: ["paused"],
  pausing: [
    "pausing",
    async (page) => {
      await page.getByRole("button", { name: "Resume" }).waitFor(); // whatever it still does, a pause is on
    },
  ],
  offline: ["offline"],
  clock: ["clock"],
  lost: ["lost"],
  "lost-outside": [
    "lost-outside",
    async (page) => {
      await page.getByText("The browser has thrown away this page’s memory").waitFor();
      expect(await page.getByRole("button", { name: "Allow and join" }).isVisible()).toBe(false); // it would be refused
    },
  ],
  "lost-and-left": [
    "lost-outside",
    async (page) => {
      await page.getByRole("button", { name: "Leave and erase" }).click();
      expect(await page.getByLabel("Erase the privacy record too").isVisible()).toBe(false); // nothing is left to choose
      await page.getByRole("dialog").getByRole("button", { name: "Leave and erase" }).click();
      await page.getByRole("button", { name: "Allow and join" }).waitFor(); // the invitation was not lost on the way
    },
  ],
  "lost-waiting": [
    "lost-waiting",
    async (page) => {
      expect(await page.locator("main").innerText()).not.toContain("asks again"); // it does not
      await page.getByRole("button", { name: "Leave and erase" }).waitFor();
    },
  ],
  revoked: ["revoked"],
  "revoked-invited": [
    "revoked-invited",
    async (page) => {
      for (const name of ["Allow and join", "Leave and erase"]) await page.getByRole("button", { name }).waitFor();
    },
  ],
  ended: ["ended"],
};

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
