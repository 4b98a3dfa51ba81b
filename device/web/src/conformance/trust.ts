/** Trust in a repository against `trust.json`. */

import { fromUtf8, utf8, type Bytes } from "../bytes.ts";
import { refusal } from "../delivery/trust/metadata.ts";
import { newest, type Believed, type Memory, type Read } from "../delivery/trust/trust.ts";
import { ReleaseRefusedError } from "../errors.ts";
import { same, thrown, type Case } from "./check.ts";

const MODEL = "digits";

interface Described {
  readonly root: string;
  readonly floor: number;
  readonly roles: Readonly<Record<string, readonly [number, string]>>;
}
interface Before {
  readonly memory: Described;
  readonly now: number;
}
/** Path and name of each file. */
type Served = Readonly<Record<string, string>>;
interface Accepted {
  readonly why: string;
  readonly served: Served;
  readonly given: Before;
  readonly manifest: string;
  readonly keys: string;
  readonly after: Described;
}
interface Refused {
  readonly why: string;
  readonly given: Before & { readonly served: Served };
  readonly reason: string;
}
type Files = Readonly<Record<string, string>>;
interface Vectors {
  readonly files: Files;
  readonly given: Files;
  readonly accepted: readonly Accepted[];
  readonly refused: readonly Refused[];
}

export function trustCases(file: unknown): Case[] {
  const { files: weighing, given: others, accepted, refused } = file as Vectors;
  const files = { ...weighing, ...others };
  const visit = (served: Served, { memory, now }: Before): Promise<Believed> =>
    newest(memoryOf(memory, files), MODEL, serving(served, files), now);
  return [
    ...accepted.map((vector) => ({
      name: vector.why,
      run: async () => {
        const { manifest, keys, memory } = await visit(vector.served, vector.given);
        same(fromUtf8(manifest), vector.manifest, "manifest");
        same(keys, vector.keys, "keys");
        const after = memoryOf(vector.after, files);
        same(fromUtf8(memory.root), fromUtf8(after.root), "root");
        same(String(memory.floor), String(after.floor), "floor");
        same(rolesOf(memory), rolesOf(after), "roles");
      },
    })),
    ...refused.map(({ why, given, reason }) => ({
      name: why,
      run: async () => {
        same((await thrown(ReleaseRefusedError, () => visit(given.served, given))).reason, reason, "reason");
      },
    })),
  ];
}

function serving(served: Served, files: Files): Read {
  return (path, most) => {
    const name = served[path];
    const data = name === undefined ? undefined : fileOf(name, files);
    const tooLong = data !== undefined && data.length > most;
    return tooLong ? Promise.reject(refusal("endless_data", "it is too long")) : Promise.resolve(data);
  };
}

function fileOf(name: string, files: Files): Bytes {
  const text = files[name];
  if (text === undefined) throw new Error(`there is no file ${name}`);
  return utf8(text);
}

function memoryOf({ root, floor, roles }: Described, files: Files): Memory {
  const seen = Object.entries(roles).map(([role, [version, keys]]) => [role, { version, keys }] as const);
  return { root: fileOf(root, files), floor, roles: Object.fromEntries(seen) };
}

function rolesOf({ roles }: Memory): string {
  const lines = Object.entries(roles).map(([role, { version, keys }]) => `${role} ${version} ${keys}`);
  return lines.toSorted().join("\n");
}
