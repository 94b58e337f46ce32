/** Roles of a kernel in the order of their warps, and what each warpgroup asks of the register file. */
import type { LoopRole } from "../../compiler/ir/loop.ts";
import { cudaLimits } from "./target.ts";

/** `endWarp` is one past the last. */
export interface WarpRange {
  readonly firstWarp: number;
  readonly endWarp: number;
}

/** Warps that share a register count and a branch: whole warpgroups, together because a role spans them. */
export interface Section extends WarpRange {
  /** Registers of a thread; absent: those of the launch. */
  readonly registers: number | undefined;
  readonly roles: readonly LoopRole[];
}

const warpsPerGroup = 4;

/** Registers that each thread has when a block of `threads` starts, if the text asks for one block on a multiprocessor. */
export const registersAtLaunch = (threads: number): number =>
  Math.min(cudaLimits.maxRegistersPerThread, Math.floor(cudaLimits.registersPerMultiprocessor / threads / 8) * 8);

/**
 * The warps that have a role, section by section. A RangeError says which rule of register counts a role breaks: one count for a
 * warpgroup, a multiple of 8 from 24 to 256, and no more in all than the block has at launch (the kernel would wait forever).
 */
export function sectionsOf(roles: readonly LoopRole[], threads: number): readonly Section[] {
  const warps = threads / cudaLimits.warp;
  const sections: Section[] = [];
  for (const role of [...roles].sort((a, b) => a.firstWarp - b.firstWarp)) {
    const firstWarp = role.firstWarp - (role.firstWarp % warpsPerGroup);
    const endWarp = Math.min(warps, Math.ceil((role.firstWarp + role.warps) / warpsPerGroup) * warpsPerGroup);
    const before = sections.at(-1);
    if (!before || before.endWarp <= firstWarp) {
      sections.push({ firstWarp, endWarp, registers: role.registers, roles: [role] });
      continue;
    }
    if (before.registers !== role.registers)
      throw new RangeError(`roles "${before.roles[0]!.name}" and "${role.name}" share a warpgroup and name different register counts`);
    sections[sections.length - 1] = { ...before, endWarp: Math.max(before.endWarp, endWarp), roles: [...before.roles, role] };
  }
  checkRegisters(sections, threads);
  return sections;
}

function checkRegisters(sections: readonly Section[], threads: number): void {
  const named = sections.filter((s) => s.registers !== undefined);
  for (const { registers, roles, firstWarp, endWarp } of named) {
    if (registers! % 8 !== 0 || registers! < 24 || registers! > 256)
      throw new RangeError(`role "${roles[0]!.name}" asks for ${registers} registers; they must be a multiple of 8 from 24 to 256`);
    if ((endWarp - firstWarp) % warpsPerGroup !== 0)
      throw new RangeError(`role "${roles[0]!.name}" asks for registers in a warpgroup that is not whole`);
  }
  const launch = registersAtLaunch(threads);
  const taken = named.reduce((sum, s) => sum + (s.registers! - launch) * (s.endWarp - s.firstWarp), 0);
  if (taken > 0)
    throw new RangeError(
      `the roles ask for ${taken * cudaLimits.warp} registers more than the ${launch} of each of ${threads} threads at launch`,
    );
}

/** Conditions of a chain of if and else over ranges in order, for the warps in `all`; undefined: what is left takes the branch. */
export function warpConditions(ranges: readonly WarpRange[], all: WarpRange): readonly (string | undefined)[] {
  let lowest = all.firstWarp; // of the warps that took no branch yet
  return ranges.map(({ firstWarp, endWarp }) => {
    const [from, to] = [firstWarp > lowest, endWarp < all.endWarp];
    if (!from) lowest = endWarp;
    if (!from && !to) return undefined;
    if (endWarp - firstWarp === 1) return `warp == ${firstWarp}`;
    return [from ? `warp >= ${firstWarp}` : "", to ? `warp < ${endWarp}` : ""].filter((c) => c !== "").join(" && ");
  });
}
