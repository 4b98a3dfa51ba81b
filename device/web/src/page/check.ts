/** The page on which a browser is held to the vectors: whoever doubts a browser opens it there. */

import { failures } from "../conformance/check.ts";
import { CONFORMANCE } from "../conformance/index.ts";

const FILES = import.meta.glob<unknown>("../../../../tests/conformance/*.json", { import: "default" });

async function main(): Promise<void> {
  const verdict = element("verdict");
  let wrong = 0;
  let cases = 0;
  for (const [name, casesOf] of Object.entries(CONFORMANCE)) {
    const load = FILES[`../../../../tests/conformance/${name}.json`];
    const all = load === undefined ? [] : casesOf(await load());
    const failed = await failures(all);
    cases += all.length;
    wrong += failed.length;
    show(name, all.length, failed);
  }
  verdict.textContent =
    wrong === 0 ? `All ${cases} cases are as in Python.` : `${wrong} of ${cases} cases are not as in Python.`;
  document.documentElement.dataset["conformance"] = wrong === 0 ? "holds" : "fails";
}

function show(name: string, count: number, failed: readonly string[]): void {
  const item = document.createElement("li");
  item.textContent = failed.length === 0 ? `${name}: ${count} cases hold` : `${name}: ${failed.join("; ")}`;
  element("files").append(item);
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found;
}

await main();
