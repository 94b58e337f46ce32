/**
 * Machine code of sm_90a, decoded as far as tests need it: 128-bit instructions with an opcode in bits 0 to 11, the result's register in
 * 16 to 23, sources in 24 to 31, 32 to 39 and 64 to 71. Found by comparing code with its disassembly.
 */

/** In the order of the code; `rc` is the addend of an FFMA. */
export interface Instruction {
  readonly at: number;
  readonly opcode: number;
  readonly rd: number;
  readonly ra: number;
  readonly rb: number;
  readonly rc: number;
  /** Of a matrix product: registers of its accumulator, and whether it closes a group. */
  readonly registers: number;
  readonly commits: boolean;
  /** Of a wait for matrix products: groups that may still be under way; undefined for all else. */
  readonly pending: number | undefined;
}

/** Matrix products of e4m3 and of 16-bit types, the latter with a in shared memory or in registers, and what makes a register uniform. */
export const [QGMMA, HGMMA, R2UR] = [0x9f3, 0xdf0, 0x2ca];
const gmma = new Set([QGMMA, 0x9f0, HGMMA]);
export const FMNMX = 0x209;
const [FFMA, FFMA_CONSTANT, FADD, FMNMX_CONSTANT, WARPGROUP] = [0x223, 0x823, 0x221, 0x809, 0x9c5];
/** Jumps and ends: what follows is no straight line. */
const ends = new Set([0x947, 0x94d, 0x941]);

/** The code of a kernel in a cubin, which is an ELF file. */
export function codeOf(cubin: Uint8Array, entry: string): readonly Instruction[] {
  const view = new DataView(cubin.buffer, cubin.byteOffset, cubin.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const sections = Array.from({ length: view.getUint16(0x3c, true) }, (_, i) => u64(0x28) + i * view.getUint16(0x3a, true));
  const names = u64(sections[view.getUint16(0x3e, true)]! + 0x18);
  const name = (section: number): string => {
    const start = names + view.getUint32(section, true);
    return Buffer.from(cubin.subarray(start, cubin.indexOf(0, start))).toString();
  };
  const code = sections.find((s) => name(s) === `.text.${entry}`)!;
  const [start, size] = [u64(code + 0x18), u64(code + 0x20)];
  return Array.from({ length: size / 16 }, (_, i) => {
    const [a, b, c] = [0, 4, 8].map((word) => view.getUint32(start + 16 * i + word, true)) as [number, number, number];
    const opcode = a & 0xfff;
    const product = gmma.has(opcode);
    return {
      at: 16 * i,
      opcode,
      rd: (a >> 16) & 0xff,
      ra: a >>> 24,
      rb: b & 0xff,
      rc: c & 0xff,
      registers: product ? 4 * (1 + (b >>> 21)) : 0,
      commits: product && ((c >> 20) & 7) === 0,
      pending: opcode === WARPGROUP && ((b >> 15) & 1) === 1 ? (c >> 8) & 0xff : undefined,
    };
  });
}
const ACQBULK = 0x82e; // griddepcontrol.wait
const deviceMemory = new Set([0x981, 0x986, 0xfae, 0x5b4]); // LDG, STG, LDGSTS, UTMALDG
/** Accesses of device memory in front of the wait for the launch before: all of them where there is none. */
export const earlyAccesses = (code: readonly Instruction[]): readonly Instruction[] => {
  const wait = code.findIndex((s) => s.opcode === ACQBULK);
  return (wait < 0 ? code : code.slice(0, wait)).filter((s) => deviceMemory.has(s.opcode));
};

export const isProduct = ({ opcode }: Instruction): boolean => gmma.has(opcode);

/**
 * Folds that the assembler has moved behind a later wait. Where a wait leaves groups under way, elements of the accumulators that are
 * complete, also as FMNMX or FADD passes them on, are to be folded before the next wait: behind it they cost time of their own.
 */
export function lateFolds(code: readonly Instruction[]): readonly Instruction[] {
  const late: Instruction[] = [];
  code.forEach((wait, i) => {
    if (!wait.pending) return;
    const elements = new Set(completed(code.slice(0, i), wait.pending));
    let waits = 0;
    for (const s of code.slice(i + 1)) {
      if (isProduct(s) || (ends.has(s.opcode) && waits > 0)) break; // a jump in front of the wait is the fence
      if (s.pending !== undefined) waits++;
      const reads = [s.ra, ...(s.opcode === FFMA || s.opcode === FADD || s.opcode === FMNMX ? [s.rb] : [])].some((r) => elements.has(r));
      if (s.opcode === FFMA || s.opcode === FFMA_CONSTANT) {
        if (reads && waits > 0) late.push(s);
        elements.delete(s.rd);
      } else if (s.opcode === FADD || s.opcode === FMNMX || s.opcode === FMNMX_CONSTANT) {
        if (reads) elements.add(s.rd);
        else elements.delete(s.rd);
      }
    }
  });
  return late;
}

/** Registers of the accumulators that are complete when all groups but the last few are. */
function completed(before: readonly Instruction[], pending: number): readonly number[] {
  const groups: Instruction[][] = [[]];
  for (const s of before) {
    if (s.pending === 0) groups.splice(0, groups.length, []);
    if (!isProduct(s)) continue;
    groups.at(-1)!.push(s);
    if (s.commits) groups.push([]);
  }
  const done = groups.slice(0, -1).slice(0, -pending).flat();
  const changing = new Set(groups.slice(0, -1).slice(-pending).flat().flatMap(accumulator));
  return done.flatMap(accumulator).filter((r) => !changing.has(r));
}
const accumulator = ({ rd, registers }: Instruction): readonly number[] => Array.from({ length: registers }, (_, i) => rd + i);
