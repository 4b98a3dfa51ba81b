/** The states of the page that are looked at (`stories.test.ts`): the story that each is of, and what is done in it. */

import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { expect } from "vitest";

/** What is done in a story before it is looked at. */
export type Walk = (page: Page) => Promise<void>;

const tab =
  (name: string): Walk =>
  (page) =>
    page.getByRole("navigation").getByRole("button", { name }).click();

async function strokeSeven(page: Page): Promise<void> {
  const box = await page.getByRole("application").boundingBox();
  if (box === null) throw new Error("there is no pad");
  const at = (x: number, y: number): readonly [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.3, 0.25));
  await page.mouse.down();
  await page.mouse.move(...at(0.7, 0.25), { steps: 6 });
  await page.mouse.move(...at(0.45, 0.8), { steps: 8 });
  await page.mouse.up();
}

async function drawSeven(page: Page): Promise<void> {
  await strokeSeven(page);
  await page.getByText(/The model says [0-9]/).waitFor();
}

/** The phone in memory, as a page has it; what is asked of the model is counted in `asked`, and waits for `answer`. */
interface Held {
  phone: { looks: () => Promise<void> };
  asked: number;
  answer: () => void;
}

const holdTheModel: Walk = (page) =>
  page.evaluate(() => {
    const held = globalThis as unknown as Held;
    held.asked = 0;
    held.phone.looks = () => {
      held.asked += 1;
      return new Promise((resolve) => (held.answer = resolve));
    };
  });

const asked = (page: Page): Promise<number> => page.evaluate(() => (globalThis as unknown as Held).asked);

const join_ = async (page: Page): Promise<void> => page.getByRole("button", { name: "Allow and join" }).click();

/** Each state: the story it is of, and what is done in it. */
export const STATES: Readonly<Record<string, readonly [string, Walk?]>> = {
  none: ["none"],
  "not-an-invitation": [
    "none",
    async (page: Page): Promise<void> => {
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
    async (page: Page): Promise<void> => {
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
  "guess-fails": [
    "member",
    async (page: Page): Promise<void> => {
      await page.evaluate(() => {
        (globalThis as unknown as Held).phone.looks = () => Promise.reject(new Error("The runtime does not start."));
      });
      await strokeSeven(page);
      await page.getByText("The model says nothing. The runtime does not start.").waitFor();
      await page.getByRole("button", { name: "Clear the pad" }).click();
      await page.getByText("The model guesses as you draw.").waitFor(); // a fault is of one picture
      await strokeSeven(page);
      await page.getByText("The model says nothing.").waitFor();
    },
  ],
  "guess-slow": [
    "member",
    async (page: Page): Promise<void> => {
      await holdTheModel(page);
      await strokeSeven(page);
      await page.getByText("The model looks…").waitFor();
      await strokeSeven(page);
      expect(await asked(page)).toBe(1); // no queue grows behind the pen
      await page.getByRole("button", { name: "Clear the pad" }).click();
      await page.getByText("The model guesses as you draw.").waitFor(); // whatever it still looks at
      await strokeSeven(page);
      await page.evaluate(() => { (globalThis as unknown as Held).answer(); }); // prettier-ignore
      await expect.poll(() => asked(page)).toBe(2);
      await page.getByText("The model looks…").waitFor(); // what it said was of a picture that is gone
      await page.evaluate(() => { (globalThis as unknown as Held).answer(); }); // prettier-ignore
      await page.getByText(/The model says [0-9]/).waitFor();
    },
  ],
  kept: [
    "member",
    async (page: Page): Promise<void> => {
      await drawSeven(page);
      await page.getByRole("button", { name: "Keep as 7" }).click();
      await page.getByText("Kept as 7.").waitFor();
    },
  ],
  camera: [
    "member",
    async (page: Page): Promise<void> => {
      await page.context().grantPermissions(["camera"]);
      await page.getByRole("button", { name: "Photograph" }).click();
      await page.getByRole("button", { name: "Capture" }).and(page.locator(":enabled")).waitFor();
    },
  ],
  photographed: [
    "member",
    async (page: Page): Promise<void> => {
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
    async (page: Page): Promise<void> => {
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
    async (page: Page): Promise<void> => {
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
    async (page: Page): Promise<void> => {
      await page.getByRole("button", { name: "Resume" }).waitFor(); // whatever it still does, a pause is on
    },
  ],
  offline: ["offline"],
  clock: ["clock"],
  lost: ["lost"],
  "lost-outside": [
    "lost-outside",
    async (page: Page): Promise<void> => {
      await page.getByText("The browser has thrown away this page’s memory").waitFor();
      expect(await page.getByRole("button", { name: "Allow and join" }).isVisible()).toBe(false); // it would be refused
    },
  ],
  "lost-and-left": [
    "lost-outside",
    async (page: Page): Promise<void> => {
      await page.getByRole("button", { name: "Leave and erase" }).click();
      expect(await page.getByLabel("Erase the privacy record too").isVisible()).toBe(false); // nothing is left to choose
      await page.getByRole("dialog").getByRole("button", { name: "Leave and erase" }).click();
      await page.getByRole("button", { name: "Allow and join" }).waitFor(); // the invitation was not lost on the way
    },
  ],
  "lost-waiting": [
    "lost-waiting",
    async (page: Page): Promise<void> => {
      expect(await page.locator("main").innerText()).not.toContain("asks again"); // it does not
      await page.getByRole("button", { name: "Leave and erase" }).waitFor();
    },
  ],
  revoked: ["revoked"],
  "revoked-invited": [
    "revoked-invited",
    async (page: Page): Promise<void> => {
      for (const name of ["Allow and join", "Leave and erase"]) await page.getByRole("button", { name }).waitFor();
    },
  ],
  ended: ["ended"],
};
