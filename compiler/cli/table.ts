/** Tables on stdout, without colours and frames that other programs would have to strip. */
import Table from "cli-table3";

/** Columns are left-aligned except those whose cells are all numbers, units included. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const isNumeric = (column: number): boolean => rows.every((row) => /^(-?[\d.]|–|$)/.test(row[column] ?? ""));
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, column) => (isNumeric(column) ? "right" : "left")),
    style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 2 },
    chars: { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "" },
  });
  table.push(...rows.map((row) => [...row]));
  console.log(table.toString().replace(/ +$/gm, ""));
}
