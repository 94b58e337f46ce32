/** Loop IR to WGSL. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import { binary, type Expr, int, type ScalarType } from "../../compiler/ir/expr.ts";
import type { PrintedOperand } from "../../compiler/ir/instruction.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../compiler/ir/loop.ts";
import type { Loc } from "../../compiler/ir/tile.ts";
import { atom, call, EmitError, flow, identifier, infix, Lines, nameKernel, Names, plus, type Text } from "../text.ts";
import { isNarrow, packName, wgslHelpers } from "./codec.ts";
import { asBits, computeType, isWords, WgslExprs } from "./expr.ts";
import { wgslInstructions } from "./instructions.ts";
import { atomicBuffers, readsWritten } from "./memory.ts";
import { type WgslFeature, wgslFeatures } from "./target.ts";
import { analyseUniformity, carriedTypes, isBroadcast, passage, type Uniformity } from "./uniformity.ts";
import { wgslWords } from "./words.ts";

export interface WgslEmitOptions {
  /** Lines of the comment at the top, without the slashes. */
  readonly header: readonly string[];
  /** The text of the TypeScript line at a place, for the comment above the lines that it became. */
  sourceLine(loc: Loc): string;
  /** Features that the device is asked for; each adds its directive. */
  readonly enabledFeatures: readonly WgslFeature[];
}

/** The name of the kernel's entry point. */
export const wgslEntry = (kernel: LoopKernel): string => {
  const name = identifier(kernel.name);
  return wgslWords.includes(name) || name in wgslHelpers ? `${name}_kernel` : name;
};

/** Bytes of workgroup memory that the text declares: WGSL cannot overlap buffers, so it is their sum, each rounded up to 16. */
export function wgslSharedBytes(kernel: LoopKernel): number {
  const buffers = kernel.shared.reduce((sum, b) => sum + Math.ceil((b.elements * byteSize(b.dtype)) / 16) * 16, 0);
  return buffers + 16 * carriedTypes(kernel, analyseUniformity(kernel)).size;
}

/**
 * The text of one kernel. Bindings: params in manifest order in group 0, then the dims as a uniform struct of i32.
 * Block b is workgroup (x, y) with b = x + y * (number of workgroups along x); workgroups past the last block do nothing.
 * An EmitError means that a pass built something that WGSL has no text for.
 */
export function emitWgsl(kernel: LoopKernel, options: WgslEmitOptions): string {
  return new WgslEmitter(kernel, options).file();
}

type Stmt<K extends LoopStmt["kind"]> = Extract<LoopStmt, { kind: K }>;
const instructions = new Map(wgslInstructions.map((i) => [i.name, i]));

class WgslEmitter {
  readonly #kernel: LoopKernel;
  readonly #options: WgslEmitOptions;
  readonly #names: Names;
  readonly #exprs: WgslExprs;
  readonly #lines = new Lines();
  readonly #uniformity: Uniformity;
  readonly #atomics: ReadonlySet<string>;
  readonly #readsWritten: boolean;
  /** Helper texts in the order in which they are first used. */
  readonly #helpers = new Map<string, string>();
  readonly #accessors = new Map<string, string>();
  readonly #broadcasts = new Map<ScalarType, string>();
  readonly #temporaries: Record<"inside" | "at" | "fill" | "word" | "codes" | "count" | "valid" | "e" | "chosen", string>;
  /** All threads of the block are here. */
  #together = true;
  /** The statement is the only one of its block, so what it declares needs no braces of its own. */
  #alone = false;

  constructor(kernel: LoopKernel, options: WgslEmitOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#names = new Names([...wgslWords, ...Object.keys(wgslHelpers), wgslEntry(kernel)]);
    nameKernel(kernel, this.#names);
    const fresh = (name: string) => this.#names.fresh(name);
    const accessorLocals = {
      inside: fresh("inside"),
      at: fresh("at"),
      fill: fresh("fill"),
      word: fresh("word"),
      codes: fresh("codes"),
      count: fresh("count"),
    };
    this.#temporaries = { ...accessorLocals, valid: fresh("valid"), e: fresh("e"), chosen: fresh("chosen") };
    this.#uniformity = analyseUniformity(kernel);
    this.#atomics = atomicBuffers(kernel);
    this.#readsWritten = readsWritten(kernel);
    for (const type of carriedTypes(kernel, this.#uniformity)) this.#broadcasts.set(type, fresh(`broadcast_${type}`));
    const sink = {
      locals: accessorLocals,
      need: (name: string) => this.#need(name),
      accessor: (name: string, define: (id: string) => string) => this.#accessor(name, define),
    };
    this.#exprs = new WgslExprs(kernel, this.#names, sink, this.#atomics);
  }

  file(): string {
    const { header, enabledFeatures } = this.#options;
    this.#entry();
    const sections = [
      header.map((l) => `// ${l}`.trimEnd()),
      enabledFeatures.map((f) => wgslFeatures[f]),
      this.#bindings(),
      this.#workgroupMemory(),
      [...this.#helpers.values()],
      [this.#lines.toString()],
    ];
    return `${sections
      .filter((s) => s.length > 0)
      .map((s) => s.join("\n"))
      .join("\n\n")}\n`;
  }

  #bindings(): string[] {
    const { params, dims } = this.#kernel;
    const lines = params.map((p, i) => {
      const type = isWords(p) ? "u32" : computeType(p.fields[0]!.dtype);
      const content = isWords(p) ? `  // ${p.fields.map((f) => (f.name === "" ? f.dtype : `${f.name} ${f.dtype}`)).join(", ")}` : "";
      const access = p.access === "in" ? "read" : "read_write";
      return `@group(0) @binding(${i}) var<storage, ${access}> ${this.#names.of("param", p.name)}: array<${type}>;${content}`;
    });
    if (dims.length === 0) return lines;
    const members = dims.map((d) => `  ${this.#names.of("dim", d.name)}: i32,`);
    return [...lines, `@group(0) @binding(${params.length}) var<uniform> dims: Dims;`, "struct Dims {", ...members, "}"];
  }

  #workgroupMemory(): string[] {
    const buffers = this.#kernel.shared.map((b) => {
      const name = this.#names.of("buffer", b.name);
      const type = isNarrow(b.dtype) ? "u32" : this.#atomics.has(b.name) ? `atomic<${b.dtype}>` : b.dtype;
      const words = Math.ceil((b.elements * byteSize(b.dtype)) / 4);
      return `var<workgroup> ${name}: array<${type}, ${words}>;  // ${b.note}${isNarrow(b.dtype) ? `, ${b.dtype}` : ""}`;
    });
    return [
      ...buffers,
      ...[...this.#broadcasts].map(([type, name]) => `var<workgroup> ${name}: ${type};  // carries a value from thread 0 to all`),
    ];
  }

  #entry(): void {
    const { threads, blocks, body } = this.#kernel;
    const lines = this.#lines;
    lines.add(`@compute @workgroup_size(${threads})`, `fn ${wgslEntry(this.#kernel)}(`);
    lines.add(
      "    @builtin(workgroup_id) workgroupId: vec3u,",
      "    @builtin(num_workgroups) workgroupCount: vec3u,",
      "    @builtin(local_invocation_index) localIndex: u32) {",
    );
    lines.block(undefined, () => {
      lines.add("let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);");
      lines.add(`if (block >= ${this.#exprs.host(blocks).code}) { return; }`);
      lines.add("let thread = i32(localIndex);");
      this.#body(body);
    });
  }

  #need(name: string): void {
    if (this.#helpers.has(name)) return;
    const found = wgslHelpers[name];
    if (!found) this.#exprs.fail(`there is no helper "${name}"`);
    for (const needed of found.needs) this.#need(needed);
    this.#helpers.set(name, found.text);
  }

  #accessor(name: string, define: (id: string) => string): string {
    let id = this.#accessors.get(name);
    if (id === undefined) {
      id = this.#names.fresh(name);
      this.#accessors.set(name, id);
      this.#helpers.set(id, define(id));
    }
    return id;
  }

  #body(body: readonly LoopStmt[]): void {
    const printed = body.filter((s) => s.kind !== "Source" && s.kind !== "Comment");
    for (const s of body) {
      this.#alone = printed.length === 1;
      this.#statement(s);
    }
  }

  /** A body that not all threads may enter. */
  #inner(body: readonly LoopStmt[], together: boolean): () => void {
    return () => {
      const outside = this.#together;
      this.#together = outside && together;
      this.#body(body);
      this.#together = outside;
    };
  }

  #statement(s: LoopStmt): void {
    const lines = this.#lines;
    const x = this.#exprs;
    switch (s.kind) {
      case "Let":
        return lines.add(`let ${this.#names.of("scalar", s.name)} = ${x.text(s.value)};`);
      case "Uniform":
        this.#requireTogether(`the uniform value "${s.name}"`);
        return this.#uniform(this.#names.of("scalar", s.name), s.value);
      case "Variable":
        return lines.add(`var ${this.#names.of("scalar", s.name)}: ${s.type} = ${x.as(s.type, s.init).code};`);
      case "Array":
        return lines.add(`var ${this.#names.of("array", s.name)}: ${x.isScalar(s.name) ? s.type : `array<${s.type}, ${s.size}>`};`);
      case "Assign":
        return lines.add(`${x.variable(s.name).code} = ${x.text(s.value)};`);
      case "SetRegister":
        return lines.add(`${x.register(s.array, s.index)} = ${x.text(s.value)};`);
      case "For": {
        const i = this.#names.of("scalar", s.name);
        const step = s.step === 1 ? `${i}++` : `${i} += ${s.step}`;
        const together = this.#uniformity.isUniform(s.lo) && this.#uniformity.isUniform(s.hi);
        return lines.block(
          `for (var ${i} = ${x.text(s.lo)}; ${infix("<", atom(i), x.print(s.hi)).code}; ${step}) {`,
          this.#inner(s.body, together),
        );
      }
      case "While":
      case "Roles":
      case "Exit":
        throw new EmitError(this.#kernel.name, `WGSL has no text for ${s.kind}`);
      case "If":
        return this.#if(s);
      case "LoadGlobal":
        return this.#load(s);
      case "StoreGlobal":
        return this.#store(s);
      case "StoreShared":
        return this.#storeShared(s);
      case "Atomic": {
        const change = `${s.fn === "add" ? "atomicAdd" : "atomicOr"}(&${x.bufferElement(s.buffer, s.index)}, ${x.print(s.value).code});`;
        return lines.add(s.old === undefined ? change : `let ${this.#names.of("scalar", s.old)} = ${change}`);
      }
      case "Barrier":
        this.#requireTogether("a barrier");
        if (this.#readsWritten) lines.add("storageBarrier();");
        return lines.add("workgroupBarrier();");
      case "Call":
        return this.#call(s);
      case "Source":
        return lines.source(s.loc, (loc) => this.#options.sourceLine(loc));
      case "Comment":
        return lines.add(`// ${s.text}`);
    }
  }

  #requireTogether(what: string): void {
    if (!this.#together)
      throw new EmitError(
        this.#kernel.name,
        `${what} stands where threads may have parted; make the conditions and loop bounds around it Uniform`,
      );
  }

  /** Declares a value that Tint's analysis accepts as uniform. */
  #uniform(name: string, value: Expr): void {
    const text = this.#exprs.text(value);
    switch (passage(this.#kernel, this.#uniformity, value)) {
      case "visible":
        return this.#lines.add(`let ${name} = ${text};`);
      case "loaded":
        return this.#lines.add(`let ${name} = workgroupUniformLoad(&${text});`);
      case "carried": {
        const carrier = this.#broadcasts.get(value.type)!;
        return this.#lines.add(`if (thread == 0) { ${carrier} = ${text}; }`, `let ${name} = workgroupUniformLoad(&${carrier});`);
      }
    }
  }

  #if(s: Stmt<"If">): void {
    const lines = this.#lines;
    let cond = this.#exprs.text(s.cond);
    const visible = this.#uniformity.isUniform(s.cond);
    if (!visible && isBroadcast(s)) {
      this.#requireTogether("a branch with a barrier");
      cond = this.#temporaries.chosen;
      lines.add("{");
      this.#uniform(cond, s.cond);
    }
    const together = visible || isBroadcast(s);
    lines.block(`if (${cond}) {`, this.#inner(s.then, together), s.otherwise.length > 0 ? "} else {" : "}");
    if (s.otherwise.length > 0) lines.block(undefined, this.#inner(s.otherwise, together));
    if (!visible && isBroadcast(s)) lines.add("}");
  }

  #call(s: Stmt<"Call">): void {
    const record = instructions.get(s.instruction);
    if (!record) throw new EmitError(this.#kernel.name, `WGSL has no instruction record "${s.instruction}"`);
    if (record.helper) this.#helpers.set(record.helper, record.helper); // records may share one
    this.#lines.add(record.text(s.operands.map((o) => this.#operand(o))));
  }
  #operand(operand: Operand): PrintedOperand {
    const x = this.#exprs;
    if (operand.kind === "Value") return { operand, text: x.print(operand.value).code, registers: [] };
    if (operand.kind !== "Registers") throw new EmitError(this.#kernel.name, "WGSL passes no addresses to instructions");
    const registers = Array.from({ length: operand.count }, (_, i) => x.register(operand.array, binary("+", operand.index, int(i))));
    return { operand, text: registers[0] ?? "", registers };
  }

  #load(s: Stmt<"LoadGlobal">): void {
    const x = this.#exprs;
    const { dtype } = x.field(s.param, s.field);
    const { at, word } = this.#temporaries;
    const lines = this.#lines;
    const register = (i: number) => x.register(s.array, binary("+", s.index, int(i)));
    const words = s.aligned && this.#inWords(s, s.count);
    const loadWords = () => {
      lines.add(`let ${word} = ${x.word(x.offset(s.param, s.field, s.coords)).code};`);
      const perWord = 4 / byteSize(dtype);
      const elements = Array.from({ length: s.count }, (_, i) => {
        const index = Math.floor(i / perWord);
        const text = `${this.#names.of("param", s.param)}[${word}${index === 0 ? "" : ` + ${index}u`}]`;
        const value = isNarrow(dtype) ? x.decodeWord(dtype, text, i % perWord) : dtype === "u32" ? text : `bitcast<${dtype}>(${text})`;
        return `${register(i)} = ${value};`;
      });
      lines.add(...flow(elements));
    };
    const loadElements = () =>
      lines.add(
        ...flow(
          Array.from(
            { length: s.count },
            (_, i) => `${register(i)} = ${x.load(s.param, dtype, x.offset(s.param, s.field, along(s.coords, i))).code};`,
          ),
        ),
      );
    const whole = words ? loadWords : loadElements;
    if (!s.limit) {
      if (!s.guard) return words ? this.#scope(whole) : whole();
      lines.block(`if (${x.text(s.guard)}) {`, whole, "} else {");
      return lines.block(undefined, () =>
        lines.add(...flow(Array.from({ length: s.count }, (_, i) => `${register(i)} = ${x.text(s.fill)};`))),
      );
    }
    this.#scope(() => {
      const bound = this.#bound(s);
      const each = () => {
        lines.add(`let ${at} = ${x.offset(s.param, s.field, s.coords).code};`);
        const step = x.lastStep(s.param, s.field);
        for (let i = 0; i < s.count; i++) {
          const guarded = { inside: infix("<", atom(String(i)), bound), fill: x.print(s.fill) };
          const offset = i === 0 ? atom(at) : plus(atom(at), step.code === "1" ? atom(String(i)) : infix("*", atom(String(i)), step));
          lines.add(`${register(i)} = ${x.load(s.param, dtype, offset, guarded).code};`);
        }
      };
      if (!words) return each();
      lines.block(`if (${infix(">=", bound, atom(String(s.count))).code}) {`, loadWords, "} else {");
      lines.block(undefined, each);
    });
  }

  #store(s: Stmt<"StoreGlobal">): void {
    const x = this.#exprs;
    const { dtype } = x.field(s.param, s.field);
    const lines = this.#lines;
    const name = this.#names.of("param", s.param);
    if (!isNarrow(dtype)) {
      const words = isWords(x.param(s.param));
      const target = (e: number): string => {
        const offset = x.offset(s.param, s.field, along(s.coords, e));
        return `${name}[${(words ? x.word(offset) : offset).code}]`;
      };
      const value = (v: Expr) => (words ? asBits(dtype, x.as(computeType(dtype), v)) : x.as(computeType(dtype), v).code);
      const stores = s.values.map((v, e) => `${target(e)} = ${value(v)};`);
      if (!s.limit && !s.guard) return lines.add(...stores);
      if (!s.limit) return lines.block(`if (${x.text(s.guard!)}) {`, () => lines.add(...stores));
      return this.#scope(() => {
        const bound = this.#bound(s);
        stores.forEach((store, e) => lines.add(`if (${infix(">", bound, atom(String(e))).code}) { ${store} }`));
      });
    }
    if (!s.aligned || !this.#inWords(s, s.values.length))
      throw new EmitError(
        this.#kernel.name,
        `${s.values.length} ${dtype} elements stored to "${s.param}" are not whole aligned words, and WGSL writes words`,
      );
    const perWord = 4 / byteSize(dtype);
    const words = this.#packed(dtype, s.values);
    const { word } = this.#temporaries;
    const index = (w: number) => (w === 0 ? word : `${word} + ${w}u`);
    const address = () => lines.add(`let ${word} = ${x.word(x.offset(s.param, s.field, s.coords)).code};`);
    if (!s.limit) {
      const all = () => {
        address();
        words.forEach((value, w) => lines.add(`${name}[${index(w)}] = ${value};`));
      };
      return s.guard ? lines.block(`if (${x.text(s.guard)}) {`, all) : this.#scope(all);
    }
    const merge = this.#accessor(`${name}_store`, (id) => this.#mergeHelper(id, name, dtype));
    this.#scope(() => {
      const bound = this.#bound(s);
      address();
      words.forEach((value, w) =>
        lines.add(`${merge}(${index(w)}, ${value}, ${w === 0 ? bound.code : infix("-", bound, atom(String(w * perWord))).code});`),
      );
    });
  }

  /** Stores a word of which `count` elements exist. */
  #mergeHelper(id: string, param: string, dtype: DType): string {
    const { word, codes, count } = this.#temporaries;
    const bits = 8 * byteSize(dtype);
    return [
      `fn ${id}(${word}: u32, ${codes}: u32, ${count}: i32) {`,
      `  if (${count} >= ${32 / bits}) {`,
      `    ${param}[${word}] = ${codes};`,
      `  } else if (${count} > 0) {  // the last word of a row: one thread owns it, so it may read, merge and write`,
      `    ${param}[${word}] = insertBits(${param}[${word}], ${codes}, 0u, u32(${count}) * ${bits}u);`,
      "  }",
      "}",
    ].join("\n");
  }

  #storeShared(s: Stmt<"StoreShared">): void {
    const x = this.#exprs;
    const { dtype } = x.buffer(s.buffer);
    const name = this.#names.of("buffer", s.buffer);
    if (isNarrow(dtype)) {
      const perWord = 4 / byteSize(dtype);
      if (s.values.length % perWord !== 0)
        throw new EmitError(this.#kernel.name, `${s.values.length} ${dtype} elements stored to shared "${s.buffer}" are not whole words`);
      const word = infix(">>", x.print(s.index), atom(`${Math.log2(perWord)}u`));
      return this.#lines.add(
        ...this.#packed(dtype, s.values).map(
          (value, w) => `${name}[${w === 0 ? word.code : plus(word, atom(String(w))).code}] = ${value};`,
        ),
      );
    }
    const element = (e: number) => x.bufferElement(s.buffer, binary("+", s.index, int(e)));
    const value = (v: Expr) => x.as(computeType(dtype), v).code;
    this.#lines.add(
      ...s.values.map((v, e) =>
        this.#atomics.has(s.buffer) ? `atomicStore(&${element(e)}, ${value(v)});` : `${element(e)} = ${value(v)};`,
      ),
    );
  }

  /** Words of encoded values. */
  #packed(dtype: DType, values: readonly Expr[]): string[] {
    if (!isNarrow(dtype)) return [];
    this.#need(packName(dtype));
    const perWord = 4 / byteSize(dtype);
    return Array.from(
      { length: values.length / perWord },
      (_, w) => call(packName(dtype), ...values.slice(w * perWord, (w + 1) * perWord).map((v) => this.#exprs.as("f32", v))).code,
    );
  }

  /** How many elements exist: `limit`, none where the guard is false. Declares a name unless it has one. */
  #bound(s: Stmt<"LoadGlobal"> | Stmt<"StoreGlobal">): Text {
    const x = this.#exprs;
    const limit = s.guard ? call("select", atom("0"), x.print(s.limit!), x.print(s.guard)) : x.print(s.limit!);
    if (/^\w+$/.test(limit.code)) return limit;
    this.#lines.add(`let ${this.#temporaries.valid} = ${limit.code};`);
    return atom(this.#temporaries.valid);
  }
  /** The access covers whole words of an array of words. */
  #inWords(s: Stmt<"LoadGlobal"> | Stmt<"StoreGlobal">, count: number): boolean {
    const x = this.#exprs;
    return isWords(x.param(s.param)) && x.isContiguous(s.param, s.field) && (count * byteSize(x.field(s.param, s.field).dtype)) % 4 === 0;
  }
  #scope(body: () => void): void {
    if (this.#alone) body();
    else this.#lines.block("{", body);
  }
}

const along = (coords: readonly Expr[], e: number): Expr[] => coords.map((c, i) => (i === coords.length - 1 ? binary("+", c, int(e)) : c));
