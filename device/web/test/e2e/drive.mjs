/**
 * Drives pages in headless Chromium for a test in another language: one JSON command a line in, one JSON answer out.
 *
 *     {"do": "open", "page": "a", "url": "https://…"}          a page in a browser profile of its own
 *     {"do": "run", "page": "a", "code": "(x) => …", "given": 1}  what the code gives in the page
 *     {"do": "keys", "page": "a", "keys": ["Tab", "Enter"]}    pressed one after the other, as on a keyboard
 *     {"do": "faults", "page": "a"}                            what axe finds that is serious or critical
 *     {"do": "reload", "page": "a"}, {"do": "close", "page": "a"}
 *     {"do": "evict", "page": "a", "url": "https://…"}         the database goes, the page comes again
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [, , executablePath] = process.argv;
const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // a container's root has no other way
const browser = await chromium.launch({ executablePath, args: ["--disable-gpu", ...sandbox] });
const pages = new Map();
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The Worker as the gateway serves it, on a machine whose clock is off. */
async function withClockOff(route, off) {
  const answer = await route.fetch();
  const body = `{ const now = Date.now; Date.now = () => now() + ${off}; }\n${await answer.text()}`;
  await route.fulfill({ response: answer, body });
}

const commands = {
  async open({ page, url, off }) {
    // the federation's root is its own: the phone pins it by its invitation, a browser is told to pass over it
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 360, height: 740 } });
    await context.addInitScript(axe); // before the page's policy, which would not let it in
    const opened = await context.newPage();
    opened.on("pageerror", (error) => process.stderr.write(`${page}: ${error.message}\n`));
    opened.on("console", (said) => process.stderr.write(`${page}: ${said.type()}: ${said.text()}\n`));
    pages.set(page, opened);
    if (off) await context.route("**/worker-*.js", (route) => withClockOff(route, off));
    await opened.goto(url);
  },
  /** Deletes the phone's database while no page has it open, and opens the page again. */
  async evict({ page, url }) {
    const opened = pages.get(page);
    await opened.goto(url.replace("harness.html", "licenses.txt"));
    await opened.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const asked = indexedDB.deleteDatabase("skerry-phone");
          asked.onsuccess = () => resolve();
          asked.onerror = () => reject(asked.error);
          asked.onblocked = () => reject(new Error("the database is open"));
        }),
    );
    await opened.goto(url);
  },
  // an expression is a text here: the page's policy forbids nothing to who drives the browser
  run: ({ page, code, given }) => pages.get(page).evaluate(`(${code})(${JSON.stringify(given ?? null)})`),
  async keys({ page, keys }) {
    for (const key of keys) await pages.get(page).keyboard.press(key);
  },
  faults: ({ page }) =>
    pages
      .get(page)
      .evaluate(async () =>
        (await axe.run()).violations
          .filter(({ impact }) => impact === "serious" || impact === "critical")
          .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
      ),
  reload: ({ page }) => pages.get(page).reload(),
  async close({ page }) {
    await pages.get(page).context().close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...given } = JSON.parse(line);
  let answer;
  try {
    const result = await commands[name](given);
    answer = { result: name === "run" || name === "faults" ? (result ?? null) : null };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
