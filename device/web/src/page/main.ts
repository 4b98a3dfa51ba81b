/** The page's beginning: the phone that this browser is, and the invitation that the page may have been opened with. */

import { openPhone, type Phone } from "../agent/index.ts";
import { readInvite } from "../agent/link.ts";
import { RefusedError } from "../errors.ts";
import { mount } from "./app.ts";
import { h } from "./dom.ts";
import { keepOffline } from "./offline.ts";
import { whyNot } from "./words.ts";

const KEPT = "skerry-invite";
const OTHER_PAGE = "other_page";

/**
 * The invitation behind the address's `#`. It is taken out of the address, which people share and browsers remember, and kept
 * for this tab until the phone has applied, so that a reload does not lose it; what is no invitation is told once.
 */
function invitation(): string | null {
  const given = location.hash.slice(1);
  if (given !== "") {
    history.replaceState(null, "", location.pathname);
    sessionStorage.setItem(KEPT, unescaped(given));
  }
  const text = sessionStorage.getItem(KEPT);
  if (text !== null && !readable(text)) sessionStorage.removeItem(KEPT);
  return text;
}

function unescaped(fragment: string): string {
  try {
    return decodeURIComponent(fragment);
  } catch {
    return fragment; // a lone % is no escape
  }
}

function readable(text: string): boolean {
  try {
    readInvite(text);
    return true;
  } catch {
    return false;
  }
}

/** Settles when this page has the phone. As long as another page has it, that is said; it goes on here when that is closed. */
async function had(phone: Phone, root: HTMLElement): Promise<void> {
  try {
    await phone.examples(); // from now on its view is what it is, not what it is before it was looked at
  } catch (error) {
    if (!elsewhere(error)) throw error;
    tell(root, "This phone is open on another page. Use that one, or close it: it goes on here then.");
    await new Promise<void>((resolve) => {
      phone.subscribe(({ reason }) => {
        if (reason?.code !== OTHER_PAGE) resolve();
      });
    });
    await phone.examples();
  }
}

function elsewhere(error: unknown): boolean {
  return error instanceof RefusedError && error.reason === OTHER_PAGE;
}

/** In place of the page. */
function tell(root: HTMLElement, sentence: string): void {
  root.replaceChildren(h("main", { class: "opening" }, h("h1", {}, "skerry"), h("p", { role: "alert" }, sentence)));
}

/** Such as `phone-k3v9`: nothing in it says whose it is. */
function suggestion(): string {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const drawn = crypto.getRandomValues(new Uint8Array(4));
  return `phone-${Array.from(drawn, (byte) => letters[byte % letters.length] ?? "").join("")}`;
}

async function main(): Promise<void> {
  const root = document.getElementById("app");
  if (root === null) throw new Error("the page has no app");
  addEventListener("hashchange", () => {
    location.reload();
  }); // another link, opened in the same tab // prettier-ignore
  try {
    const invite = invitation();
    const phone = openPhone();
    await had(phone, root);
    phone.subscribe(({ membership }) => {
      if (membership === "waiting" || membership === "member") sessionStorage.removeItem(KEPT);
    });
    mount(root, phone, { readInvite, invite, suggested: suggestion() });
    performance.mark("skerry-shown");
  } catch (error) {
    tell(root, `The page cannot start: ${whyNot(error).sentence}`);
  }
  await keepOffline();
}

await main();
