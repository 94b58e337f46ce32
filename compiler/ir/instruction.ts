/**
 * An instruction record: name, timeline, meaning, text, cost. Records live in `targets/<t>/instructions.ts`; the Loop
 * interpreter runs `semantics`, the emitter prints `text`, the verifier reads `timeline`.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Operand } from "./loop.ts";

/**
 * Order class of an instruction's effects. What a `cpAsync` record writes to shared memory arrives when the thread executes a
 * `cpAsync` record that writes nothing, and other threads see it after the next barrier. `tma` and `wgmma` records run on their own time until
 * a wait; compiler/interp/loop_instructions.ts lists the names whose meaning is the machine's own.
 */
export type Timeline = "inOrder" | "cpAsync" | "tma" | "wgmma";

/** What a lane of the simulated machine sees of an operand. */
export interface LaneOperand {
  /** Type of the elements: of memory for addresses, the compute type for registers and values. */
  readonly dtype: DType | "bool";
  /** Byte address (addresses only), from the start of shared memory or of the param: for alignment rules. */
  readonly address: number;
  /** Value operands. */
  readonly value: number;
  /** Registers: element `i` of the operand; shared and global addresses: element `i` from the address on, as a value. */
  read(i: number): number;
  write(i: number, value: number): void;
}

export interface Instruction {
  readonly name: string;
  readonly timeline: Timeline;
  /** Threads that execute it together. */
  readonly scope: "thread" | "warp" | "warpgroup" | "block";
  /** What each operand is; a number: that many registers. */
  readonly operands: readonly (number | Exclude<Operand["kind"], "Registers">)[];
  /** Operands that are written, by position. */
  readonly writes: readonly number[];
  /** `lanes[l][o]` is operand o of lane l (one lane for scope "thread"). */
  semantics(lanes: readonly (readonly LaneOperand[])[]): void;
  /** The statement, given the printed operands (register operands print as a list of names). */
  text(operands: readonly PrintedOperand[]): string;
  /** Helper definition that the text needs, printed once per file. */
  readonly helper?: string;
  /** Floating-point operations per execution of the whole scope. */
  readonly flops?: number;
}

/** The record by which a thread copies 16 bytes from device to shared memory. */
export const RUN_COPY = { instruction: "cpAsync16", bytes: 16 } as const;

/** The record that waits for the launch before; a text without it is launched when that one is over. */
export const PRIOR_LAUNCH = "awaitPriorLaunch";

export interface PrintedOperand {
  readonly operand: Operand;
  /** Value: the expression; SharedAddress/GlobalAddress: a pointer expression. */
  readonly text: string;
  /** Registers: one lvalue each. */
  readonly registers: readonly string[];
}
