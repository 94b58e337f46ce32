/** Blocks of a cluster are consecutive; the first one leads. */
import { binary, int, type Expr } from "./expr.ts";

/** Sizes that every device with clusters launches. */
export const CLUSTER_SIZES: readonly number[] = [2, 4, 8];

const block: Expr = { kind: "BlockIndex", type: "i32" };

/** The block's number in its cluster. */
export const rankIn = (cluster: number): Expr => binary("%", block, int(cluster));
/** The cluster's number in the launch. */
export const clusterIndex = (cluster: number): Expr => binary("/", block, int(cluster));
export const isLeader = (cluster: number): Expr => binary("==", rankIn(cluster), int(0));
export const isFollower = (cluster: number): Expr => binary("!=", rankIn(cluster), int(0));
