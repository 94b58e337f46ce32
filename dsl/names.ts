/** Names in error messages. */

/** `"a", "b"`, or `nothing` for an empty list. */
export const quoteAll = (names: Iterable<string>): string => [...names].map((n) => JSON.stringify(n)).join(", ") || "nothing";

/** The name nearest to `name` in edit distance, if it is near enough to be a slip of the keyboard. */
function nearest(name: string, names: Iterable<string>): string | undefined {
  const ranked = [...names].map((n) => ({ n, distance: editDistance(name.toLowerCase(), n.toLowerCase()) }));
  const best = ranked.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance < name.length && best.distance <= Math.max(2, name.length / 3) ? best.n : undefined;
}

/** ` Did you mean "x"?`, or nothing when no name is near. */
export function didYouMean(name: string, names: Iterable<string>): string {
  const guess = nearest(name, names);
  return guess === undefined ? "" : ` Did you mean "${guess}"?`;
}

/** Levenshtein distance, one row of the table at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
