import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const reference = fileURLToPath(new URL("../../reference", import.meta.url));
const specifiers = /(?:from\s+|import\s*\(?\s*)"([^"]+)"/g;

test("the reference imports nothing but itself and pure-rand", () => {
  const files = readdirSync(reference, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  const imports = files.flatMap((file) =>
    [...readFileSync(join(reference, file), "utf8").matchAll(specifiers)].map((match) => ({ file, specifier: match[1]! })),
  );
  expect(imports.length).toBeGreaterThan(20);
  const leaving = imports.filter(({ file, specifier }) => {
    if (specifier.startsWith("pure-rand/")) return false;
    if (!specifier.startsWith(".")) return true;
    return !resolve(dirname(join(reference, file)), specifier).startsWith(`${reference}/`);
  });
  expect(leaving).toEqual([]);
});
