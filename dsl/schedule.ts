/**
 * A schedule says how a kernel runs on one target: who, where and when. It is data beside the kernel's text, which stays as it is. The project's
 * own kernels have theirs in `targets/<target>/schedules`; a kernel file may export `schedules`, by export name and target.
 */
/** Labels are the author's names of tiles. What is left out has a default. */
export interface Schedule {
  /** Threads of a block, a power of two; roles say it where there are any. */
  readonly threads?: number;
  /** Blocks that a multiprocessor is to hold at a time: each thread gets no more registers than that leaves. */
  readonly resident?: number;
  /** Tiles of device memory that a loop reads into registers one iteration ahead. */
  readonly ahead?: readonly string[];
  /** Of those, the ones that nothing else looks at while they pass: a multiprocessor's cache need not keep them. */
  readonly once?: readonly string[];
  /** Replaces tune numbers of the kernel's text. */
  readonly tune?: Readonly<Record<string, number>>;
  /** What the spec asks for and this schedule does not give, and why: for whoever compiles or reads the text. */
  readonly note?: string;
  /** Rewrites that keep the real-number result but round elsewhere. They run in the order of the pipeline. */
  readonly algebra?: readonly AlgebraPass[];
  /** Warps with programs of their own, the computing role first. */
  readonly roles?: Readonly<Record<string, RoleSchedule>>;
  /**
   * Slots of the ring in shared memory that a tile travels through. Tiles of one statement list share a ring, and are awaited and released
   * together, unless they name rings of their own.
   */
  readonly stage?: Readonly<Record<string, number | { readonly slots: number; readonly ring: string }>>;
  /** Tiles that a launch reads once: they leave the L2 cache first. */
  readonly evictFirst?: readonly string[];
  /**
   * Products by wgmma; `parts`: accumulators in flight, so that one is folded while the next is multiplied; `late`: in a loop, a turn multiplies
   * what the turn before made for it, beside its own work. `behind` names a product with the same first operand: its last instructions take the
   * columns of this one along. The second operand of this one, which is computed, lies behind the other's.
   */
  readonly mma?: Readonly<Record<string, { readonly parts?: number; readonly late?: boolean; readonly behind?: string }>>;
  /** Blocks stay: a multiprocessor each. `even` cuts the iterations of that loop evenly over the blocks. */
  readonly persistent?: { readonly even: string; readonly padding?: number; readonly least?: number } | "strided";
  /**
   * A cluster of so many blocks (2, 4 or 8) stands where one block would. They deal out the loop over `deal`, in contiguous parts; what they add
   * to bags there goes to the first block, the leader, which goes on alone. What stands before the loop is done by each of them.
   */
  readonly cluster?: { readonly blocks: number; readonly deal: string };
}

export interface RoleSchedule {
  readonly warps: number;
  /** Registers of each thread (setmaxnreg), a multiple of 8. */
  readonly registers?: number;
  /** The role's warps form so many groups that take the iterations in turn. */
  readonly copies?: number;
  /**
   * Tiles that the role brings into their rings: loads by TMA, gathers by cp.async, 16 bytes at a time, in which all of its threads take part. Indices of a
   * gather are made of loads, gathers and maps alone; rows start at multiples of 16 bytes, which fixed extents show.
   */
  readonly brings?: readonly string[];
  /** Loads among them that come by cp.async too. */
  readonly cpAsync?: readonly string[];
  /**
   * Operands of wgmma that the role computes from tiles of a ring while the computing role multiplies those of the slot before. Each lies in
   * the slot of the first of these tiles, and is given back with it. One role makes them all, in one copy of a power of two of warps, from tiles of
   * rings and from loads.
   */
  readonly makes?: readonly string[];
}

export type AlgebraPass = "hoistScales" | "splitRelu" | "balanceRelu" | "hoistInvariants";

/** Bounds of dims, both included. A launch meets them when each dim that is named lies within its own. */
export type Bounds = Readonly<Record<string, { readonly atLeast?: number; readonly atMost?: number }>>;

/** The launches of a kernel that have a schedule, and with it a text, of their own. */
export interface Tier {
  /** Part of the text's file name. */
  readonly name: string;
  readonly when: Bounds;
}

/**
 * One schedule for all launches, or one for each tier: a launch takes the first whose bounds its dims meet. The last has neither name nor
 * bounds and takes the rest.
 */
export type Scheduled = Schedule | Tiers;
export type Tiers = readonly [...(Tier & { readonly schedule: Schedule })[], { readonly schedule: Schedule }];

/** What a kernel file exports as `schedules`: for example { attention: { "cuda:sm_90a": { roles: … } } }. */
export type Schedules = Readonly<Record<string, Readonly<Record<string, Scheduled>>>>;
