/** Loop IR to CUDA C++ that needs no header: NVRTC and nvcc compile it as it stands. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import { binary, type Expr, int, visitExpr } from "../../compiler/ir/expr.ts";
import type { Instruction, PrintedOperand } from "../../compiler/ir/instruction.ts";
import { expressionsOf, type LoopKernel, type LoopRole, type LoopStmt, type Operand } from "../../compiler/ir/loop.ts";
import type { Loc } from "../../compiler/ir/tile.ts";
import {
  allStatements,
  atom,
  branch,
  call,
  EmitError,
  flow,
  identifier,
  infix,
  Lines,
  list,
  nameKernel,
  Names,
  plus,
  prefix,
  type Text,
} from "../text.ts";
import { codecHelper, decodeName, encodeName, isNarrow, packName } from "./codec.ts";
import { CudaExprs, elementType, pointerType, registerText, scalarText } from "./expr.ts";
import { cudaInstructionsOf } from "./instructions.ts";
import { descriptorHelper, descriptorText } from "./descriptor.ts";
import { registersAtLaunch, type Section, sectionsOf, warpConditions, type WarpRange } from "./roles.ts";
import { cudaArch, cudaLimits, type CudaTarget } from "./target.ts";
import { cudaWords } from "./words.ts";

export interface CudaEmitOptions {
  readonly target: CudaTarget;
  /** Lines of the comment at the top, without the slashes. */
  readonly header: readonly string[];
  /** The text of the TypeScript line at a place, for the comment above the lines that it became. */
  sourceLine(loc: Loc): string;
}

/** The `extern "C"` name of the kernel's entry. */
export const cudaEntry = (kernel: LoopKernel): string => {
  const name = identifier(kernel.name);
  return cudaWords.includes(name) ? `${name}_kernel` : name;
};

/**
 * The text of one kernel. Parameters are the tensor maps, the pointers in manifest order, then the dims as int; all shared memory is
 * dynamic.
 * An EmitError means that a pass built something that CUDA has no text for.
 */
export function emitCuda(kernel: LoopKernel, options: CudaEmitOptions): string {
  return new CudaEmitter(kernel, options).file();
}

type Stmt<K extends LoopStmt["kind"]> = Extract<LoopStmt, { kind: K }>;
const aliases = [
  ["u8", "unsigned char"],
  ["u16", "unsigned short"],
  ["u32", "unsigned int"],
  ["u64", "unsigned long long"],
  ["i64", "long long"],
] as const;
const tensorMapStruct = "struct alignas(64) TensorMap { u8 opaque[128]; };";

class CudaEmitter {
  readonly #kernel: LoopKernel;
  readonly #options: CudaEmitOptions;
  readonly #names: Names;
  readonly #exprs: CudaExprs;
  readonly #instructions: ReadonlyMap<string, Instruction>;
  readonly #lines = new Lines();
  /** Helper texts in the order in which they must stand. */
  readonly #helpers = new Set<string>();
  /** The statement is the only one of its block, so what it declares needs no braces of its own. */
  #alone = false;
  /** The role whose body is being printed (roles end a kernel), and the number of its named barrier. */
  #role: { readonly role: LoopRole; readonly barrier: number } | undefined;
  readonly #temporaries: Record<"at" | "valid" | "words" | "e", string>;

  constructor(kernel: LoopKernel, options: CudaEmitOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#names = new Names([...cudaWords, cudaEntry(kernel)]);
    nameKernel(kernel, this.#names);
    const fresh = (name: string) => this.#names.fresh(name);
    this.#temporaries = { at: fresh("at"), valid: fresh("valid"), words: fresh("words"), e: fresh("e") };
    this.#exprs = new CudaExprs(kernel, this.#names, (name) => this.#need(name));
    this.#instructions = new Map(cudaInstructionsOf(cudaArch(options.target)).map((i) => [i.name, i]));
  }

  file(): string {
    const { header } = this.#options;
    this.#signature();
    const body = this.#lines.toString();
    const prelude = [...this.#helpers].join("\n");
    const used = aliases.filter(([alias]) => new RegExp(`\\b${alias}\\b`).test(prelude + body));
    return [
      ...header.map((l) => `// ${l}`.trimEnd()),
      ...(header.length > 0 ? [""] : []),
      ...used.map(([alias, type]) => `using ${alias} = ${type};`),
      ...(used.length > 0 ? [""] : []),
      ...(prelude === "" ? [] : [prelude, ""]),
      body,
      "",
    ].join("\n");
  }

  #need(name: string): void {
    const found = codecHelper(name, cudaArch(this.#options.target));
    if (!found) throw new EmitError(this.#kernel.name, `there is no helper "${name}"`);
    if (this.#helpers.has(found.text)) return;
    for (const needed of found.needs) this.#need(needed);
    this.#helpers.add(found.text);
  }

  #signature(): void {
    const { params, dims, tensorMaps, threads, resident = 1, cluster, shared, barriers, body } = this.#kernel;
    if (tensorMaps.length > 0) this.#helpers.add(tensorMapStruct);
    const declared = [
      ...tensorMaps.map((m) => `const __grid_constant__ TensorMap ${this.#names.of("map", m.name)}`),
      ...params.map((p) => `${p.access === "in" ? "const " : ""}${pointerType(p)}* __restrict__ ${this.#names.of("param", p.name)}`),
      ...dims.map((d) => `int ${this.#names.of("dim", d.name)}`),
    ];
    const lines = this.#lines;
    const clusters = cluster === undefined ? "" : `__cluster_dims__(${cluster}, 1, 1) `;
    lines.add(`extern "C" __global__ void ${clusters}__launch_bounds__(${threads}, ${resident}) ${cudaEntry(this.#kernel)}(`);
    declared.forEach((d, i) => lines.add(`    ${d}${i + 1 < declared.length ? "," : ") {"}`));
    lines.block(undefined, () => {
      if (shared.length + barriers.length > 0) lines.add(...this.#sharedMemory());
      for (const b of shared) {
        const type = elementType(b.dtype);
        lines.add(`${type}* const ${this.#names.of("buffer", b.name)} = (${type}*)(shared + ${b.offset});  // ${b.note}`);
      }
      for (const b of barriers) lines.add(`u64* const ${this.#names.of("barrier", b.name)} = (u64*)(shared + ${b.offset});  // ${b.note}`);
      const used = machineIndices(body);
      if (used.has("BlockIndex")) lines.add("const int block = blockIdx.x;");
      if (used.has("BlockCount")) lines.add("const int blocks = gridDim.x;");
      const roles = body.at(-1)?.kind === "Roles";
      if (used.has("ThreadIndex") || used.has("WarpIndex") || roles) lines.add("const int thread = threadIdx.x;");
      // ptxas takes what comes from a shuffle for one value a warp
      if (used.has("WarpIndex") || roles) lines.add("const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);");
      this.#body(body);
    });
  }

  /**
   * Where threads find their places at run time, ptxas would compute the start of shared memory anew for every access: a register that it
   * cannot see through keeps it.
   */
  #sharedMemory(): readonly string[] {
    const isScattered = [...allStatements(this.#kernel.body)].some((s) => s.kind === "Atomic" && s.old !== undefined);
    if (!isScattered) return ["extern __shared__ __align__(1024) unsigned char shared[];"];
    const [memory, start] = [this.#names.fresh("shared_memory"), this.#names.fresh("shared_start")];
    return [
      `extern __shared__ __align__(1024) unsigned char ${memory}[];`,
      `u32 ${start} = (u32)__cvta_generic_to_shared(${memory});`,
      `asm("" : "+r"(${start}));`,
      `unsigned char* const shared = (unsigned char*)__builtin_assume_aligned(__cvta_shared_to_generic(${start}), 1024);`,
    ];
  }

  #body(body: readonly LoopStmt[]): void {
    const printed = body.filter((s) => s.kind !== "Source" && s.kind !== "Comment");
    for (const s of body) {
      this.#alone = printed.length === 1;
      this.#statement(s);
    }
  }

  #statement(s: LoopStmt): void {
    const lines = this.#lines;
    const x = this.#exprs;
    switch (s.kind) {
      case "Let":
      case "Uniform":
        return lines.add(`const ${scalarText[s.value.type]} ${this.#names.of("scalar", s.name)} = ${x.text(s.value)};`);
      case "Variable":
        return lines.add(`${scalarText[s.type]} ${this.#names.of("scalar", s.name)} = ${x.as(s.type, s.init).code};`);
      case "Array":
        return lines.add(`${registerText[s.type]} ${this.#names.of("array", s.name)}${x.isScalar(s.name) ? "" : `[${s.size}]`};`);
      case "Cursor": {
        const { dtype } = x.field(s.param, s.field);
        return lines.add(`${elementType(dtype)}* ${this.#names.of("scalar", s.name)} = ${x.pointer(s.param, s.field, s.coords).code};`);
      }
      case "Advance":
        return lines.add(`${this.#names.of("scalar", s.cursor)} += ${x.text(s.by)};`);
      case "Assign":
        return lines.add(`${x.variable(s.name).code} = ${x.text(s.value)};`);
      case "SetRegister":
        return lines.add(`${x.register(s.array, s.index)} = ${x.text(s.value)};`);
      case "For": {
        const i = this.#names.of("scalar", s.name);
        const step = s.step === 1 ? `++${i}` : `${i} += ${s.step}`;
        if (s.unroll || s.together) lines.add(`#pragma unroll${s.together ? ` ${s.together}` : ""}`);
        return lines.block(`for (int ${i} = ${x.text(s.lo)}; ${infix("<", atom(i), x.print(s.hi)).code}; ${step}) {`, () =>
          this.#body(s.body),
        );
      }
      case "While":
        return lines.block(`while (${x.text(s.cond)}) {`, () => this.#body(s.body));
      case "If":
        lines.block(`if (${x.text(s.cond)}) {`, () => this.#body(s.then), s.otherwise.length > 0 ? "} else {" : "}");
        if (s.otherwise.length > 0) lines.block(undefined, () => this.#body(s.otherwise));
        return;
      case "LoadGlobal":
        return this.#load(s);
      case "StoreGlobal":
        return this.#store(s);
      case "StoreShared": {
        const { dtype } = x.buffer(s.buffer);
        if ((s.values.length * byteSize(dtype)) % 4 !== 0)
          throw new EmitError(this.#kernel.name, `${s.values.length} ${dtype} elements stored to shared "${s.buffer}" are not whole words`);
        if (s.values.length === 1) return lines.add(`${x.bufferElement(s.buffer, s.index)} = ${this.#encoded(dtype, s.values[0]!)};`);
        return lines.add(...this.#vectorStore(x.sharedPointer(s.buffer, s.index), dtype, s.values));
      }
      case "Atomic": {
        const change = `${s.fn === "add" ? "atomicAdd" : "atomicOr"}(&${x.bufferElement(s.buffer, s.index)}, ${x.print(s.value).code});`;
        return lines.add(s.old === undefined ? change : `const ${scalarText[s.value.type]} ${this.#names.of("scalar", s.old)} = ${change}`);
      }
      case "Barrier":
        return lines.add(this.#barrier());
      case "Exit":
        return lines.add("return;");
      case "Roles":
        return this.#roles(s.roles);
      case "Call":
        return this.#call(s);
      case "Source":
        return lines.source(s.loc, (loc) => this.#options.sourceLine(loc));
      case "Comment":
        return lines.add(`// ${s.text}`);
    }
  }

  #barrier(): string {
    if (!this.#role) return "__syncthreads();";
    const { role, barrier } = this.#role;
    if (role.warps === 1) return "__syncwarp();";
    return `asm volatile("bar.sync ${barrier}, ${role.warps * cudaLimits.warp};" ::: "memory");`;
  }

  /** One branch a section, so that ptxas sees where each register count holds. The warp's number comes from a shuffle: ptxas takes it for uniform. */
  #roles(roles: readonly LoopRole[]): void {
    const lines = this.#lines;
    let sections: readonly Section[];
    try {
      sections = sectionsOf(roles, this.#kernel.threads);
    } catch (error) {
      throw error instanceof RangeError ? new EmitError(this.#kernel.name, error.message) : error;
    }
    lines.add("");
    const launch = registersAtLaunch(this.#kernel.threads);
    const all = { firstWarp: 0, endWarp: this.#kernel.threads / cudaLimits.warp };
    this.#branches(sections, all, (section) => {
      const { registers } = section;
      if (registers !== undefined && registers !== launch)
        lines.add(`asm volatile("setmaxnreg.${registers > launch ? "inc" : "dec"}.sync.aligned.u32 ${registers};");`);
      const parts = section.roles.map((role) => ({ firstWarp: role.firstWarp, endWarp: role.firstWarp + role.warps, role }));
      this.#branches(parts, section, ({ role }) => {
        const warps = role.warps === 1 ? `warp ${role.firstWarp}` : `warps ${role.firstWarp} to ${role.firstWarp + role.warps - 1}`;
        lines.add(`// role ${role.name}: ${warps}${registers === undefined ? "" : `, ${registers} registers a thread`}`);
        this.#role = { role, barrier: roles.indexOf(role) + 1 };
        this.#body(role.body);
      });
    });
  }

  /** `print` for each range, in a branch that only its warps of those in `all` take. */
  #branches<T extends WarpRange>(ranges: readonly T[], all: WarpRange, print: (range: T) => void): void {
    const conditions = warpConditions(ranges, all);
    const [first] = ranges;
    if (first && conditions[0] === undefined) return print(first);
    ranges.forEach((range, i) => {
      const next = conditions[i + 1] === undefined ? "} else {" : `} else if (${conditions[i + 1]}) {`;
      this.#lines.block(i === 0 ? `if (${conditions[0]}) {` : undefined, () => print(range), i + 1 < ranges.length ? next : "}");
    });
  }

  #call(s: Stmt<"Call">): void {
    const record = this.#instructions.get(s.instruction);
    if (!record) throw new EmitError(this.#kernel.name, `CUDA has no instruction record "${s.instruction}"`);
    if (record.helper) this.#helpers.add(record.helper); // records may share one
    this.#lines.add(record.text(s.operands.map((o) => this.#operand(o))));
  }

  #operand(operand: Operand): PrintedOperand {
    const x = this.#exprs;
    switch (operand.kind) {
      case "Value":
        return { operand, text: x.print(operand.value).code, registers: [] };
      case "Registers": {
        const registers = Array.from({ length: operand.count }, (_, i) => x.register(operand.array, binary("+", operand.index, int(i))));
        return { operand, text: registers[0] ?? "", registers };
      }
      case "SharedAddress":
      case "LeaderAddress":
        return { operand, text: x.sharedPointer(operand.buffer, operand.index).code, registers: [] };
      case "GlobalAddress":
        return { operand, text: x.pointer(operand.param, operand.field, operand.coords).code, registers: [] };
      case "Barrier":
        return { operand, text: x.barrier(operand.barrier, operand.slot).code, registers: [] };
      case "TensorMap":
        return { operand, text: `&${x.tensorMap(operand.map)}`, registers: [] };
      case "Matrix":
        this.#helpers.add(descriptorHelper(operand.swizzle));
        return { operand, text: descriptorText(operand, x), registers: [] };
    }
  }

  #load(s: Stmt<"LoadGlobal">): void {
    const x = this.#exprs;
    const { dtype } = x.field(s.param, s.field);
    const register = (e: number) => x.register(s.array, binary("+", s.index, int(e)));
    const whole = s.aligned && this.#isVector(s, s.count);
    const once = s.once && x.param(s.param).access === "in"; // the hint's instruction reads what no thread writes
    const { lines, words: vectorName } = { lines: this.#lines, words: this.#temporaries.words };
    const loadWhole = (pointer: Text) => {
      const bytes = s.count * byteSize(dtype);
      const { type, lanes, chunks } = vectorOf(dtype, bytes);
      const perWord = s.count / (lanes * chunks);
      for (let c = 0; c < chunks; c++) {
        const name = chunks === 1 ? vectorName : `${vectorName}${c}`;
        if (once && lanes === 4) this.#need("loadOnce");
        lines.add(`const ${type} ${name} = ${once && lanes === 4 ? `loadOnce(${vectorPointer(`const ${type}`, pointer, c)})` : vectorAt(`const ${type}`, pointer, c, chunks)};`);
        const element = (i: number) => {
          const lane = Math.floor(i / perWord);
          const word = lanes === 1 ? name : `${name}.${"xyzw"[lane]!}`;
          return `${register(c * lanes * perWord + i)} = ${this.#fromWord(dtype, word, i % perWord)};`;
        };
        lines.add(...flow(Array.from({ length: lanes * perWord }, (_, i) => element(i))));
      }
    };
    const loadEach = (condition: (e: string) => string | undefined, at: string | undefined) => {
      const one = (e: number | string, target: string, element: string) => {
        const value = x.decode(dtype, { code: element, binds: "atom" }).code;
        const when = condition(String(e));
        lines.add(`${target} = ${when === undefined ? value : `${when} ? ${value} : ${branch(x.print(s.fill))}`};`);
      };
      if (at === undefined || s.count === 1) {
        for (let e = 0; e < s.count; e++)
          one(e, register(e), at === undefined ? x.element(s.param, s.field, along(s.coords, e)) : `${at}[${e}]`);
        return;
      }
      const e = this.#temporaries.e;
      lines.add("#pragma unroll");
      const index = s.index.kind === "Const" && s.index.value === 0 ? e : plus(x.print(s.index), atom(e)).code;
      lines.block(`for (int ${e} = 0; ${e} < ${s.count}; ++${e}) {`, () =>
        one(e, `${this.#names.of("array", s.array)}[${index}]`, `${at}[${e}]`),
      );
    };
    this.#access(s, s.count, whole, loadWhole, loadEach, () => {
      lines.add(...flow(Array.from({ length: s.count }, (_, e) => `${register(e)} = ${x.text(s.fill)};`)));
    });
  }

  #store(s: Stmt<"StoreGlobal">): void {
    const x = this.#exprs;
    const { dtype } = x.field(s.param, s.field);
    if (s.at) {
      if (s.values.length !== 1 || s.limit) throw new EmitError(this.#kernel.name, `a store through the cursor "${s.at.cursor}" is one element`);
      const target = `${this.#names.of("scalar", s.at.cursor)}[${s.at.offset}]`;
      return this.#lines.add(`${s.guard ? `if (${branch(x.print(s.guard))}) ` : ""}${target} = ${this.#encoded(dtype, s.values[0]!)};`);
    }
    const whole = s.aligned && this.#isVector(s, s.values.length);
    const storeWhole = (pointer: Text) => this.#lines.add(...this.#vectorStore(pointer, dtype, s.values));
    const storeEach = (condition: (e: string) => string | undefined, at: string | undefined) => {
      for (const [e, value] of s.values.entries()) {
        const when = condition(String(e));
        const target = at === undefined ? x.element(s.param, s.field, along(s.coords, e)) : `${at}[${e}]`;
        this.#lines.add(`${when === undefined ? "" : `if (${when}) `}${target} = ${this.#encoded(dtype, value)};`);
      }
    };
    this.#access(s, s.values.length, whole, storeWhole, storeEach, undefined);
  }

  /**
   * The shape that loads and stores share: one vector access where all elements exist, element by element otherwise.
   * `each` gets the condition under which element e exists and the name of a pointer to element 0, if one is declared.
   */
  #access(
    s: Stmt<"LoadGlobal"> | Stmt<"StoreGlobal">,
    count: number,
    vector: boolean,
    whole: (pointer: Text) => void,
    each: (condition: (e: string) => string | undefined, at: string | undefined) => void,
    none: (() => void) | undefined,
  ): void {
    const x = this.#exprs;
    const lines = this.#lines;
    const scope = (body: () => void) => (this.#alone ? body() : lines.block("{", body));
    if (!s.limit) {
      const all = () => (vector ? whole(x.address(s.param, s.field, s.coords)) : each(() => undefined, undefined));
      if (!s.guard) return vector && s.kind === "LoadGlobal" ? scope(all) : all();
      if (count === 1) return each(() => branch(x.print(s.guard!)), undefined);
      lines.block(`if (${x.text(s.guard)}) {`, all, none ? "} else {" : "}");
      if (none) lines.block(undefined, none);
      return;
    }
    const { at, valid } = this.#temporaries;
    scope(() => {
      const limit = s.guard
        ? { kind: "Select" as const, type: "i32" as const, cond: s.guard, then: s.limit!, otherwise: int(0) }
        : s.limit!;
      const simple = limit.kind === "Var" || limit.kind === "Const";
      if (!simple) lines.add(`const int ${valid} = ${x.text(limit)};`);
      const bound = simple ? x.text(limit) : valid;
      const contiguous = x.isContiguous(s.param, s.field);
      const type = `${s.kind === "LoadGlobal" ? "const " : ""}${elementType(x.field(s.param, s.field).dtype)}*`;
      if (contiguous) lines.add(`${type} const ${at} = ${x.pointer(s.param, s.field, s.coords).code};`);
      const exists = (e: string) => (/^\d/.test(e) ? `${bound} > ${e}` : `${e} < ${bound}`);
      if (!vector) return each(exists, contiguous ? at : undefined);
      lines.block(`if (${bound} >= ${count}) {`, () => whole({ code: at, binds: "atom" }), "} else {");
      lines.block(undefined, () => each(exists, at));
    });
  }

  #isVector(s: Stmt<"LoadGlobal"> | Stmt<"StoreGlobal">, count: number): boolean {
    const bytes = count * byteSize(this.#exprs.field(s.param, s.field).dtype);
    return count > 1 && this.#exprs.isContiguous(s.param, s.field) && (bytes === 4 || bytes === 8 || bytes % 16 === 0);
  }

  /** Element `e` of a loaded word. */
  #fromWord(dtype: DType, word: string, e: number): string {
    if (!isNarrow(dtype)) return word;
    this.#exprs.decode(dtype, { code: word, binds: "atom" });
    const bits = 8 * byteSize(dtype);
    const high = e === 32 / bits - 1;
    const mask = `0x${(2 ** bits - 1).toString(16)}u`;
    const code = e === 0 ? `${word} & ${mask}` : high ? `${word} >> ${e * bits}` : `${word} >> ${e * bits} & ${mask}`;
    return `${decodeName(dtype)}(${code})`;
  }

  /** The value as it lies in memory. */
  #encoded(dtype: DType, value: Expr): string {
    const memory = dtype === "i32" || dtype === "u32" ? dtype : "f32";
    const text = this.#exprs.as(memory, value);
    if (!isNarrow(dtype)) return text.code;
    this.#need(encodeName(dtype));
    return call(encodeName(dtype), text).code;
  }

  #vectorStore(pointer: Text, dtype: DType, values: readonly Expr[]): string[] {
    const perWord = 4 / byteSize(dtype);
    const words: string[] = [];
    for (let i = 0; i < values.length; i += perWord) {
      const parts = values.slice(i, i + perWord);
      if (!isNarrow(dtype)) {
        words.push(this.#encoded(dtype, parts[0]!));
        continue;
      }
      this.#need(packName(dtype));
      words.push(`${packName(dtype)}(${parts.map((v) => this.#exprs.as("f32", v).code).join(", ")})`);
    }
    const { type, lanes, chunks } = vectorOf(dtype, values.length * byteSize(dtype));
    return Array.from({ length: chunks }, (_, c) => {
      const target = vectorAt(type, pointer, c, chunks);
      const parts = words.slice(c * lanes, (c + 1) * lanes);
      return lanes === 1 ? [`${target} = ${parts[0]!};`] : list(`${target} = make_${type}(`, parts, ");");
    }).flat();
  }
}

/** The vector type for a run of bytes (a multiple of 4): as wide as divides them, at most 16 bytes. */
function vectorOf(dtype: DType, bytes: number): { readonly type: string; readonly lanes: number; readonly chunks: number } {
  const lanes = bytes % 16 === 0 ? 4 : bytes % 8 === 0 ? 2 : 1;
  const base = dtype === "f32" ? "float" : dtype === "i32" ? "int" : "uint";
  return { type: lanes === 1 ? (base === "uint" ? "u32" : base) : `${base}${lanes}`, lanes, chunks: bytes / (4 * lanes) };
}

function vectorAt(type: string, pointer: Text, chunk: number, chunks: number): string {
  const first = vectorPointer(type, pointer, 0);
  return chunks === 1 ? `*${first}` : `(${first})[${chunk}]`;
}

function vectorPointer(type: string, pointer: Text, chunk: number): string {
  const cast = prefix(`(${type}*)`, pointer).code;
  return chunk === 0 ? cast : `${cast} + ${chunk}`;
}

const along = (coords: readonly Expr[], e: number): Expr[] => coords.map((c, i) => (i === coords.length - 1 ? binary("+", c, int(e)) : c));

function machineIndices(body: readonly LoopStmt[]): Set<Expr["kind"]> {
  const used = new Set<Expr["kind"]>();
  for (const s of allStatements(body)) for (const e of expressionsOf(s)) if (e) visitExpr(e, (x) => used.add(x.kind));
  return used;
}
