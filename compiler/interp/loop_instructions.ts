/**
 * Instructions whose meaning is the machine's own: they order threads, or start what runs on its own time. The records of a target name them;
 * `semantics` of such a record is not run, but that of a matrix product, which runs when the machine chooses.
 *
 *   mbarrierInit, mbarrierInitFence, mbarrierArrive, mbarrierArriveWarp, mbarrierExpect, mbarrierWait    hardware barriers
 *   tmaLoad.R[.policy], cpAsyncArrive                                                                   copies
 *   wgmma.m64…[.ra][.first], wgmmaFence, wgmmaCommit, wgmmaWait.P.R                                     matrix products
 *   clusterArrive, clusterWait, leaderAdd                                                               clusters
 *   fenceProxyAsync, syncWarp                                                                           order
 */
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import type { BarrierOperand, Mbarrier } from "./loop_barriers.ts";
import type { ClusterBarrier, LeaderOperand } from "./loop_clusters.ts";
import type { BoxOperand, CopyEngine } from "./loop_copies.ts";
import { type Machine, warpgroupSize, warpSize } from "./loop_machine.ts";
import type { TransferTarget } from "./loop_memory.ts";
import type { Warpgroup } from "./loop_products.ts";

type Lanes = readonly (readonly LaneOperand[])[];
/** The machine's actor is the first lane's thread. */
export type Meaning = (lanes: Lanes, site: number) => void;

export interface Hardware {
  readonly machine: Machine;
  readonly barriers: readonly Mbarrier[];
  readonly copies: CopyEngine;
  readonly warpgroups: readonly Warpgroup[];
  readonly cluster: ClusterBarrier;
}

/** Its threads stop until the cluster has made their last arrival. */
export const isClusterWait = ({ name }: Instruction): boolean => name === "clusterWait";
/** Its thread stops until a phase has ended: operands are the barrier and the parity. */
export const isWait = ({ name }: Instruction): boolean => name === "mbarrierWait";
/** Its registers and matrices belong to the matrix unit until a wait. */
export const isProduct = ({ name }: Instruction): boolean => name.startsWith("wgmma.");
/** Kernels that call it are judged by clocks of all actors. */
export const needsClocks = (instruction: Instruction): boolean => /^(mbarrier|tmaLoad\.|cpAsyncArrive$|wgmma|fenceProxyAsync$|syncWarp$)/.test(instruction.name);

/** A meaning that needs the operands of the first lane alone. */
const ofThread = (f: (operands: readonly LaneOperand[], site: number) => void): Meaning => (lanes, site) => f(lanes[0]!, site);

/** The machine's own meaning of an instruction, if it has one. */
export function meaningOf(instruction: Instruction, { machine, barriers, copies, warpgroups, cluster }: Hardware): Meaning | undefined {
  const { name, writes } = instruction;
  const warpgroup = (): Warpgroup => warpgroups[Math.floor(machine.thread / warpgroupSize)]!;
  const barrier = (o: LaneOperand | undefined): Mbarrier => (o as BarrierOperand).barrier;
  const joinWarp = (): void => machine.joinThreads(machine.thread, machine.thread + warpSize);
  switch (name) {
    case "mbarrierInit":
      return ofThread(([b, arrivals], site) => barrier(b).init(arrivals!.value, site));
    case "mbarrierInitFence":
      return () => barriers.forEach((b) => b.fenceInit());
    case "mbarrierArrive":
      return ofThread(([b], site) => barrier(b).arrive(site));
    case "mbarrierArriveWarp":
      return ofThread(([b], site) => {
        joinWarp();
        barrier(b).arrive(site);
      });
    case "mbarrierExpect":
      return ofThread(([b, bytes], site) => barrier(b).expect(bytes!.value, site));
    case "cpAsyncArrive":
      return ofThread(([b], site) => copies.arriveAfterCopies(barrier(b), site));
    case "clusterArrive":
      return (_, site) => cluster.arrive(site);
    case "leaderAdd":
      return ofThread(([before, to, value]) => before!.write(0, (to as LeaderOperand).add(value!.value)));
    case "fenceProxyAsync":
      return () => machine.fenceProxy();
    case "syncWarp":
      return joinWarp;
    case "wgmmaFence":
      return () => warpgroup().fence();
    case "wgmmaCommit":
      return () => warpgroup().commit();
  }
  if (name.startsWith("tmaLoad."))
    return ofThread(([to, map, full, ...coords], site) =>
      copies.start((map as BoxOperand).map, to as TransferTarget, barrier(full), coords.map((c) => c.value), site),
    );
  if (isProduct(instruction)) return (lanes, site) => warpgroup().issue({ instruction, lanes, site }, !name.endsWith(".first"));
  if (name.startsWith("wgmmaWait.")) return (lanes, site) => warpgroup().wait(Number(name.split(".")[1]), lanes, site);
  if (instruction.timeline === "cpAsync" && writes.length === 0) return () => copies.finishCopies();
  return undefined;
}
