/** Tables on stdout, without colours and frames that other programs would have to strip. */
import Table from "cli-table3";

const corners = ["top", "bottom", "left", "right", "mid"].flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`]);
const frameless = Object.fromEntries([...corners, "middle"].map((part) => [part, ""]));

/** Columns are left-aligned except those whose cells are all numbers, units included. Nothing when there are no rows. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  if (rows.length === 0) return;
  const isNumeric = (column: number): boolean => rows.every((row) => /^(-?[\d.]|–|$)/.test(row[column] ?? ""));
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, column) => (isNumeric(column) ? "right" : "left")),
    style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 2 },
    chars: frameless,
  });
  table.push(...rows.map((row) => [...row]));
  console.log(table.toString().replace(/ +$/gm, ""));
}
