/** Loop IR to JavaScript: one generator function that a thread of the simulated machine runs. It yields where threads meet. */
import type { Expr, ScalarType } from "../ir/expr.ts";
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import { bodiesOf, type LoopKernel, type LoopStmt, type Operand } from "../ir/loop.ts";
import type { Loc } from "../ir/tile.ts";
import { isClusterWait, isProduct, isWait } from "./loop_instructions.ts";
import { warpSize } from "./loop_machine.ts";

/** What threads wait for on the machine's own barriers. */
export interface Awaited {
  /** Whether the phase of a parity has ended. */
  hasEnded(parity: number): boolean;
  /** The running thread has waited. */
  acquire(): void;
  /** What the phase waits for, for messages. */
  readonly lacks: string;
}

/** Where a thread stops. */
export type Stop =
  /** `group`: by its number in the machine. */
  | { readonly kind: "Barrier"; readonly site: number; readonly group: number }
  | { readonly kind: "Wait"; readonly site: number; readonly barrier: Awaited; readonly parity: number }
  | { readonly kind: "Call"; readonly site: number; readonly instruction: Instruction; readonly operands: readonly LaneOperand[] };
export type ThreadProgram = (block: number, thread: number) => Generator<Stop, void>;

export interface CompiledThread {
  /** Body of `function (lib) {…}` that returns a ThreadProgram; lib is the Library of loop.ts. */
  readonly text: string;
  readonly sites: readonly Loc[];
}

export function compileThread(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>): CompiledThread {
  return new Compiler(kernel, instructions).compile();
}

/** Of a loop without a count: more are a mistake. */
const mostTurns = 1_000_000;

type CallStmt = Extract<LoopStmt, { kind: "Call" }>;

/** Every call, also those in nested statements. */
export const callsOf = (body: readonly LoopStmt[]): readonly CallStmt[] =>
  body.flatMap((s) => (s.kind === "Call" ? [s] : bodiesOf(s).flatMap(callsOf)));

class Compiler {
  readonly #kernel: LoopKernel;
  readonly #instructions: ReadonlyMap<string, Instruction>;
  readonly #dims: ReadonlySet<string>;
  readonly #sites: Loc[] = [];
  readonly #lines: string[] = [];
  #loc: Loc;
  /** Register arrays that matrix products work on. */
  readonly #tracked: ReadonlySet<string>;

  constructor(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>) {
    this.#kernel = kernel;
    this.#instructions = instructions;
    this.#dims = new Set(kernel.dims.map((d) => d.name));
    this.#loc = kernel.loc;
    this.#tracked = new Set(callsOf(kernel.body).flatMap((c) => (isProduct(this.#record(c)) ? c.operands.flatMap((o) => (o.kind === "Registers" ? [o.array] : [])) : [])));
  }

  compile(): CompiledThread {
    const { shared, params, barriers, tensorMaps, cluster } = this.#kernel;
    for (const b of shared) this.#lines.push(`const ${js("buffer", b.name)} = lib.buffers[${quote(b.name)}];`);
    for (const b of cluster ? shared : []) this.#lines.push(`const ${js("leader", b.name)} = lib.leader[${quote(b.name)}];`);
    for (const b of barriers) this.#lines.push(`const ${js("barrier", b.name)} = lib.barriers[${quote(b.name)}];`);
    for (const m of tensorMaps) this.#lines.push(`const ${js("map", m.name)} = lib.maps[${quote(m.name)}];`);
    for (const p of params)
      for (const f of p.fields)
        this.#lines.push(`const ${js("field", `${p.name}.${f.name}`)} = lib.fields[${quote(`${p.name}.${f.name}`)}];`);
    for (const d of this.#dims) this.#lines.push(`const ${js("dim", d)} = lib.dims[${quote(d)}];`);
    this.#lines.push("const { fround, imul } = Math, { machine, round, scalar, Registers, value } = lib;");
    this.#lines.push("return function* (block, thread) {");
    this.#body(this.#kernel.body);
    this.#lines.push("};");
    return { text: this.#lines.join("\n"), sites: this.#sites };
  }

  #body(body: readonly LoopStmt[]): void {
    for (const s of body) this.#statement(s);
  }

  /** The number of the current place, for checked accesses. */
  #site(): number {
    return this.#sites.at(-1) === this.#loc ? this.#sites.length - 1 : this.#point();
  }
  /** A number of its own for a statement at which threads are compared. */
  #point(): number {
    return this.#sites.push(this.#loc) - 1;
  }

  #statement(s: LoopStmt): void {
    const out = this.#lines;
    switch (s.kind) {
      case "Let":
        out.push(`const ${js("scalar", s.name)} = ${this.#expr(s.value)};`);
        return;
      case "Uniform":
        out.push(`const ${js("scalar", s.name)} = machine.uniform(${this.#expr(s.value)}, ${this.#point()});`);
        return;
      case "Variable":
        out.push(`let ${js("scalar", s.name)} = ${this.#as(s.type, s.init)};`);
        return;
      case "Array":
        out.push(`const ${js("array", s.name)} = new Registers(machine, ${quote(s.name)}, ${quote(s.type)}, ${s.size}, ${this.#tracked.has(s.name)});`);
        return;
      case "Cursor":
        out.push(`let ${js("scalar", s.name)} = [${s.coords.map((c) => this.#expr(c)).join(", ")}];`);
        return;
      case "Advance":
        out.push(`${js("scalar", s.cursor)} = ${js("scalar", s.cursor)}.with(-1, ${js("scalar", s.cursor)}.at(-1) + ${this.#expr(s.by)});`);
        return;
      case "Assign":
        out.push(`${js("scalar", s.name)} = ${this.#expr(s.value)};`);
        return;
      case "SetRegister":
        out.push(`${js("array", s.array)}.write(${this.#expr(s.index)}, ${this.#number(s.value)}, ${this.#site()});`);
        return;
      case "For": {
        const i = js("scalar", s.name);
        out.push(`for (let ${i} = ${this.#expr(s.lo)}; ${i} < ${this.#expr(s.hi)}; ${i} += ${s.step}) {`);
        this.#body(s.body);
        out.push("}");
        return;
      }
      case "While":
        out.push(`for (let turns = 0; ${this.#expr(s.cond)}; turns++) { if (turns === ${mostTurns}) machine.fault("deadlock", ${this.#site()}, "a loop has taken ${mostTurns} turns and does not end");`);
        this.#body(s.body);
        out.push("}");
        return;
      case "If": {
        const cond = s.uniform ? `machine.uniform(${this.#expr(s.cond)}, ${this.#point()})` : this.#expr(s.cond);
        out.push(`if (${cond}) {`);
        this.#body(s.then);
        out.push("} else {");
        this.#body(s.otherwise);
        out.push("}");
        return;
      }
      case "LoadGlobal": {
        const site = this.#site();
        const element = this.#read(s.param, s.field, this.#along(s.coords, "e"));
        const target = js("array", s.array);
        const { valid, check } = this.#extent(s, s.count);
        out.push(`{ const start = ${this.#expr(s.index)}, valid = ${valid};${check}`);
        out.push(
          `for (let e = 0; e < ${s.count}; e++) ${target}.write(start + e, e < valid ? ${element} : ${this.#number(s.fill)}, ${site}); }`,
        );
        return;
      }
      case "StoreGlobal": {
        const { valid, check } = this.#extent(s, s.values.length);
        const field = js("field", `${s.param}.${s.field}`);
        const site = this.#site();
        out.push(`{ const valid = ${valid};${check}`);
        if (s.at) {
          const wrong = s.coords.map((c, i) => `${this.#expr(c)} !== ${js("scalar", s.at!.cursor)}[${i}]${i === s.coords.length - 1 ? ` + ${s.at!.offset}` : ""}`).join(" || ");
          out.push(`if (valid > 0 && (${wrong})) machine.fault("operand", ${site}, "the cursor ${s.at.cursor} is not where the store's coordinates are");`);
        }
        s.values.forEach((v, e) => {
          const at = `${field}.at(${[site, ...this.#along(s.coords, String(e))].join(", ")})`;
          out.push(`if (${e} < valid) ${field}.write(${at}, ${this.#number(v)}, ${site});`);
        });
        out.push("}");
        return;
      }
      case "StoreShared": {
        const buffer = js("buffer", s.buffer);
        const site = this.#site();
        out.push(`{ const start = ${this.#expr(s.index)}, values = [${s.values.map((v) => this.#number(v)).join(", ")}];`);
        out.push(`${buffer}.checkStart(start, ${s.values.length}, ${site});`);
        out.push(`for (let e = 0; e < ${s.values.length}; e++) ${buffer}.write(start + e, values[e], ${site}); }`);
        return;
      }
      case "Atomic": {
        const change = `${js("buffer", s.buffer)}.${s.fn}(${this.#expr(s.index)}, ${this.#expr(s.value)}, ${this.#site()});`;
        out.push(s.old === undefined ? change : `const ${js("scalar", s.old)} = ${change}`);
        return;
      }
      case "Barrier":
        out.push(`yield { kind: "Barrier", site: ${this.#point()}, group: machine.group };`);
        return;
      case "Exit":
        out.push("return;");
        return;
      case "Roles":
        this.#roles(s);
        return;
      case "Call":
        this.#call(s);
        return;
      case "Source":
        this.#loc = s.loc;
        return;
      case "Comment":
        return;
    }
  }

  #roles({ roles }: Extract<LoopStmt, { kind: "Roles" }>): void {
    roles.forEach((role, i) => {
      const [first, end] = [role.firstWarp * warpSize, (role.firstWarp + role.warps) * warpSize];
      this.#lines.push(`if (thread >= ${first} && thread < ${end}) { machine.enter(${i + 1});`);
      this.#body(role.body);
      this.#lines.push("}");
    });
  }

  #record({ instruction }: CallStmt): Instruction {
    const record = this.#instructions.get(instruction);
    if (!record) throw new Error(`the simulated machine was given no instruction record "${instruction}"`);
    return record;
  }
  #call(s: CallStmt): void {
    const record = this.#record(s);
    const site = this.#point();
    const operands = s.operands.map((o, i) => this.#operand(o, record, record.writes.includes(i), site));
    const instruction = `lib.instructions.get(${quote(record.name)})`;
    if (isClusterWait(record)) this.#lines.push(`yield lib.clusterWait(${site});`);
    else if (isWait(record)) this.#lines.push(`yield lib.wait(${operands.join(", ")}, ${site});`);
    else if (record.scope !== "thread") this.#lines.push(`yield { kind: "Call", site: ${site}, instruction: ${instruction}, operands: [${operands.join(", ")}] };`);
    else this.#lines.push(`lib.execute(${instruction}, [[${operands.join(", ")}]], ${site});`);
  }

  #operand(o: Operand, record: Instruction, writable: boolean, site: number): string {
    switch (o.kind) {
      case "Value":
        return `value(machine, ${quote(o.value.type)}, ${this.#expr(o.value)}, ${site})`;
      case "Registers": {
        const range = `${this.#expr(o.index)}, ${o.count}, ${site}`;
        const array = js("array", o.array);
        return record.timeline === "wgmma" ? `${array}.productOperand(${range})` : `${array}.operand(${range}, ${writable})`;
      }
      case "SharedAddress": {
        const index = this.#expr(o.index);
        const buffer = js("buffer", o.buffer);
        return record.timeline === "tma" ? `${buffer}.target(${index}, ${site})` : `${buffer}.operand(${index}, ${site}, ${writable}, ${record.timeline === "cpAsync"})`;
      }
      case "LeaderAddress":
        return `${js("leader", o.buffer)}.operand(${this.#expr(o.index)}, ${site})`;
      case "GlobalAddress":
        return `${js("field", `${o.param}.${o.field}`)}.operand([${o.coords.map((c) => this.#expr(c)).join(", ")}], ${site}, ${writable})`;
      case "Barrier":
        return `${js("barrier", o.barrier)}.operand(${this.#expr(o.slot)}, ${site})`;
      case "TensorMap":
        return `${js("map", o.map)}.operand(${site})`;
      case "Matrix": {
        const shape = { major: o.major, swizzle: o.swizzle, stride: o.stride, leading: o.leading };
        return `${js("buffer", o.buffer)}.matrix(${this.#expr(o.index)}, ${JSON.stringify(shape)}, ${site})`;
      }
    }
  }

  /** How many elements exist, and the check that an access said to be aligned is so. */
  #extent(s: Extract<LoopStmt, { kind: "LoadGlobal" | "StoreGlobal" }>, count: number): { readonly valid: string; readonly check: string } {
    const limit = s.limit ? `Math.min(${this.#expr(s.limit)}, ${count})` : String(count);
    const field = js("field", `${s.param}.${s.field}`);
    const site = this.#site();
    const start = `${field}.at(${[site, ...s.coords.map((c) => this.#expr(c))].join(", ")})`;
    return {
      valid: s.guard ? `${this.#expr(s.guard)} ? ${limit} : 0` : limit,
      check: s.aligned ? ` if (valid > 0) ${field}.checkAligned(${start}, ${count}, ${site});` : "",
    };
  }

  #read(param: string, field: string, coords: readonly string[]): string {
    const view = js("field", `${param}.${field}`);
    const site = this.#site();
    return `${view}.read(${view}.at(${[site, ...coords].join(", ")}), ${site})`;
  }

  /** A value as memory and registers hold it. */
  #number(e: Expr): string {
    return e.type === "bool" ? `(${this.#expr(e)} ? 1 : 0)` : this.#expr(e);
  }

  #expr(e: Expr): string {
    switch (e.kind) {
      case "Const":
        return e.type === "bool"
          ? String(e.value !== 0)
          : `(${Object.is(e.value, -0) ? "-0" : e.type === "f32" ? Math.fround(e.value) : e.value})`;
      case "Var":
        return js(this.#dims.has(e.name) ? "dim" : "scalar", e.name);
      case "BlockIndex":
        return "block";
      case "BlockCount":
        return "machine.blocks";
      case "WarpIndex":
        return "(thread >> 5)";
      case "ThreadIndex":
        return "thread";
      case "Unary":
        return e.op === "!" ? `!${this.#as("bool", e.a)}` : wrap(e.type, `${e.op}${this.#as(e.type, e.a)}`);
      case "Binary":
        return this.#binary(e);
      case "Select":
        return `(${this.#expr(e.cond)} ? ${this.#expr(e.then)} : ${this.#expr(e.otherwise)})`;
      case "Call":
        return wrap(e.type, `scalar.${e.fn}(${e.args.map((a) => this.#expr(a)).join(", ")})`);
      case "Convert":
        return this.#as(e.type, e.a);
      case "Round":
        return `round(${quote(e.dtype)}, ${this.#expr(e.a)})`;
      case "Reg": {
        const read = `${js("array", e.array)}.read(${this.#expr(e.index)}, ${this.#site()})`;
        return e.type === "bool" ? `(${read} !== 0)` : read;
      }
      case "Shared":
        return `${js("buffer", e.buffer)}.read(${this.#expr(e.index)}, ${this.#site()})`;
      case "GlobalElement": {
        const read = this.#read(
          e.param,
          e.field,
          e.coords.map((c) => this.#expr(c)),
        );
        if (!e.guard) return read;
        if (!e.fill) throw new Error(`a guarded element of "${e.param}" has no fill value`);
        return `(${this.#expr(e.guard)} ? ${read} : ${this.#expr(e.fill)})`;
      }
    }
  }

  #binary(e: Extract<Expr, { kind: "Binary" }>): string {
    const [a, b] = [e.a, e.b];
    switch (e.op) {
      case "==":
      case "!=":
        return `(${this.#expr(a)} ${e.op}= ${this.#expr(b)})`;
      case "<":
      case "<=":
      case ">":
      case ">=":
      case "&&":
      case "||":
        return `(${this.#expr(a)} ${e.op} ${this.#expr(b)})`;
      case "*":
        return e.type === "f32"
          ? wrap("f32", `${this.#expr(a)} * ${this.#expr(b)}`)
          : wrap(e.type, `imul(${this.#expr(a)}, ${this.#expr(b)})`);
      case "<<":
      case ">>>":
        return wrap(e.type, `${this.#expr(a)} ${e.op} ${this.#expr(b)}`);
      case ">>":
        return wrap(e.type, `${this.#expr(a)} ${e.type === "u32" ? ">>>" : ">>"} ${this.#expr(b)}`);
      default:
        return wrap(e.type, `${this.#as(e.type, a)} ${e.op} ${this.#as(e.type, b)}`);
    }
  }

  /** A conversion; none where the types agree. */
  #as(type: ScalarType, e: Expr): string {
    const text = this.#expr(e);
    if (e.type === type) return text;
    if (type === "bool") return `(${text} !== 0)`;
    if (e.type === "bool") return `(${text} ? 1 : 0)`;
    if (e.type === "f32") return `scalar.${type === "i32" ? "toI32" : "toU32"}(${text})`;
    return wrap(type, text);
  }
  #along(coords: readonly Expr[], e: string): string[] {
    return coords.map((c, i) => (i === coords.length - 1 ? `${this.#expr(c)} + ${e}` : this.#expr(c)));
  }
}

/** Rounds or wraps a JavaScript number to a type. */
function wrap(type: ScalarType, text: string): string {
  switch (type) {
    case "f32":
      return `fround(${text})`;
    case "i32":
      return `(${text} | 0)`;
    case "u32":
      return `(${text} >>> 0)`;
    case "bool":
      return `(${text})`;
  }
}

const quote = (s: string): string => JSON.stringify(s);
/** A JavaScript identifier that no other name of the IR has. */
const js = (space: "buffer" | "leader" | "barrier" | "map" | "field" | "dim" | "scalar" | "array", name: string): string =>
  `${space}_${name.replace(/[^A-Za-z0-9]/g, (c) => `$${c.charCodeAt(0)}_`)}`;
