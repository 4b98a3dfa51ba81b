/** One way to hold our code to a file of vectors: every case runs, and those that fail are named. */

/** A case of a file: it throws when our code does not give what the file says. */
export interface Case {
  readonly name: string;
  readonly run: () => void | Promise<void>;
}

/**
 * Names and reasons of the cases that do not hold, `most` of them; empty when all do. A file without cases does not hold.
 */
export async function failures(cases: readonly Case[], most = Infinity): Promise<string[]> {
  if (cases.length === 0) return ["there are no cases"];
  const found: string[] = [];
  for (const { name, run } of cases) {
    if (found.length >= most) break;
    try {
      await run();
    } catch (error) {
      found.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return found;
}

/** @throws Error when the two are not the same text. */
export function same(got: string, wanted: string, what = "result"): void {
  if (got !== wanted) throw new Error(`${what} is ${got.slice(0, 200)}, not ${wanted.slice(0, 200)}`);
}

/** The error that `run` ends in, which must be of `kind`. @throws Error when it ends in none, or in another. */
export async function thrown<E extends Error>(
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- constructors of errors take different arguments
  kind: new (...given: any[]) => E,
  run: () => unknown,
): Promise<E> {
  try {
    await run();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`expected a ${kind.name}, and nothing was refused`);
}
