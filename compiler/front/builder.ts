/** Collects the statements of a kernel and hands out ids and names. */
import type { Span } from "../diagnostics.ts";
import type { Expr, ScalarType } from "../ir/expr.ts";
import type { Axis, Loc, ScalarValue, TileOp, TileStmt, TileType, TileValue } from "../ir/tile.ts";
import { kind, scalarRef, type ScalarRef, type TileRef } from "./value.ts";

export const locOf = ({ file, line, column }: Span): Loc => ({ file, line, column });

export interface Builder {
  /** The name itself, or with a suffix where it is taken. */
  unique(name: string): string;
  emit(statement: TileStmt): void;
  /** A new tile without a statement: what loops and branches define. */
  tile(label: string, dtype: TileType, axes: readonly Axis[], span: Span): TileValue;
  scalar(name: string, type: ScalarType, span: Span): ScalarValue;
  /** Whether a scalar variable has this name. */
  isScalar(name: string): boolean;
  /** Where a tile's expression stands. */
  spanOf(tile: TileValue): Span;
  define(op: TileOp, label: string, dtype: TileType, axes: readonly Axis[], span: Span): TileRef;
  /** Names a number; a variable or constant stays itself. */
  name(expr: Expr, label: string, span: Span): ScalarRef;
  /** The scalar variable that holds an expression, defined here if need be. */
  hold(expr: Expr, label: string, span: Span): ScalarValue;
  /** Runs `f` and returns the statements that it emitted instead of keeping them. */
  capture<T>(f: () => T): { readonly result: T; readonly statements: readonly TileStmt[] };
  /** Forgets ids and names handed out since, when `rewind` is called: for reading a loop again. */
  mark(): { rewind(): void };
}

export function createBuilder(): Builder {
  let statements: TileStmt[] = [];
  let names = new Map<string, number>();
  let scalars = new Map<string, ScalarValue>();
  const spans = new WeakMap<TileValue, Span>();
  let nextId = 0;

  function unique(name: string): string {
    for (let n = (names.get(name) ?? 0) + 1; ; n++) {
      const candidate = n === 1 ? name : `${name}_${n}`;
      if (n > 1 && names.has(candidate)) continue;
      names.set(name, n);
      if (n > 1) names.set(candidate, 1);
      return candidate;
    }
  }
  const tile: Builder["tile"] = (label, dtype, axes, span) => {
    const value = { id: nextId++, label: unique(label), dtype, axes, loc: locOf(span) };
    spans.set(value, span);
    return value;
  };
  const scalar: Builder["scalar"] = (name, type, span) => {
    const value = { name: unique(name), type, loc: locOf(span) };
    scalars.set(value.name, value);
    return value;
  };
  const hold: Builder["hold"] = (expr, label, span) => {
    const known = expr.kind === "Var" ? scalars.get(expr.name) : undefined;
    if (known) return known;
    const value = scalar(label, expr.type, span);
    statements.push({ kind: "Let", scalar: value, expr });
    return value;
  };
  return {
    unique,
    tile,
    scalar,
    hold,
    isScalar: (name) => scalars.has(name),
    spanOf: (value) => spans.get(value) ?? { ...value.loc, length: 1 },
    emit: (statement) => void statements.push(statement),
    define(op, label, dtype, axes, span) {
      const value = tile(label, dtype, axes, span);
      statements.push({ kind: "Define", value, op });
      return { [kind]: "Tile", tile: value };
    },
    name(expr, label, span) {
      if (expr.kind === "Var" || expr.kind === "Const") return scalarRef(expr);
      const { name } = hold(expr, label, span);
      return scalarRef({ kind: "Var", type: expr.type, name });
    },
    capture(f) {
      const outer = statements;
      statements = [];
      try {
        return { result: f(), statements };
      } finally {
        statements = outer;
      }
    },
    mark() {
      const saved = { names: new Map(names), scalars: new Map(scalars), nextId };
      return { rewind: () => void ({ names, scalars, nextId } = { ...saved, names: new Map(saved.names), scalars: new Map(saved.scalars) }) };
    },
  };
}
