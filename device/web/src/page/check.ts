/** The page on which a browser is held to the vectors: whoever doubts a browser opens it there. */

import { failures } from "../conformance/check.ts";
import { CONFORMANCE } from "../conformance/index.ts";

const FILES = import.meta.glob<unknown>("../../../../tests/conformance/*.json", { import: "default" });

/** What became of a file: the cases that do not hold, or why it could not be read. */
type Outcome = { readonly count: number; readonly failed: readonly string[] } | { readonly unread: string };

async function main(): Promise<void> {
  const verdict = element("verdict");
  verdict.textContent = "Computing…";
  const outcomes: Outcome[] = [];
  for (const name of Object.keys(CONFORMANCE)) {
    const outcome = await computed(name);
    outcomes.push(outcome);
    show(name, outcome);
  }
  const read = outcomes.filter((outcome) => "failed" in outcome);
  const unread = outcomes.length - read.length;
  const cases = read.reduce((sum, { count }) => sum + count, 0);
  const wrong = read.reduce((sum, { failed }) => sum + failed.length, 0);
  if (unread > 0) {
    verdict.textContent = `${unread} of ${outcomes.length} files could not be read; ${wrong} of ${cases} cases in the others are not as in Python.`;
  } else if (wrong > 0) verdict.textContent = `${wrong} of ${cases} cases are not as in Python.`;
  else verdict.textContent = `All ${cases} cases are as in Python.`;
  document.documentElement.dataset["conformance"] = unread + wrong === 0 ? "holds" : "fails";
}

async function computed(name: string): Promise<Outcome> {
  try {
    const [casesOf, load] = [CONFORMANCE[name], FILES[`../../../../tests/conformance/${name}.json`]];
    if (casesOf === undefined || load === undefined) throw new Error("the page was built without it");
    const cases = casesOf(await load());
    return { count: cases.length, failed: await failures(cases) };
  } catch (error) {
    return { unread: error instanceof Error ? error.message : String(error) };
  }
}

function show(name: string, outcome: Outcome): void {
  const item = document.createElement("li");
  if ("unread" in outcome) item.textContent = `${name}: it could not be read: ${outcome.unread}`;
  else if (outcome.failed.length > 0) item.textContent = `${name}: ${outcome.failed.join("; ")}`;
  else item.textContent = `${name}: ${outcome.count} cases hold`;
  element("files").append(item);
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found;
}

await main();
