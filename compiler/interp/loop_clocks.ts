/**
 * What comes before what, without barriers of the whole block. An actor is a thread, or hardware that works for threads on its own. Every access
 * carries its actor and the epoch of its time; epochs count up over the launch, at each release at least.
 */
export interface Clock {
  /** By actor: its accesses up to this epoch come before what the owner of the clock does next. */
  readonly seen: Int32Array;
  /** By actor: those of its writes up to this epoch are visible to the copy engine and the matrix units (async proxy) too. */
  readonly fenced: Int32Array;
  /** Counts changes. */
  version: number;
}

export const newClock = (actors: number): Clock => ({ seen: new Int32Array(actors), fenced: new Int32Array(actors), version: 0 });

/** What comes before `from` comes before `into` too. */
export function join(into: Clock, from: Clock): void {
  raise(into.seen, from.seen);
  raise(into.fenced, from.fenced);
  into.version++;
}
function raise(into: Int32Array, from: Int32Array): void {
  for (let i = 0; i < into.length; i++) if (from[i]! > into[i]!) into[i] = from[i]!;
}

/** All of them know what any of them knew. */
export function joinAll(clocks: readonly Clock[]): void {
  const [first, ...others] = clocks;
  for (const c of others) join(first!, c);
  for (const c of others) copy(c, first!);
}
function copy(into: Clock, from: Clock): void {
  into.seen.set(from.seen);
  into.fenced.set(from.fenced);
  into.version++;
}

/** What comes before every one of them. */
export function common(clocks: readonly Clock[]): Clock {
  const [first, ...others] = clocks;
  const least = newClock(first!.seen.length);
  copy(least, first!);
  for (const c of others) {
    lower(least.seen, c.seen);
    lower(least.fenced, c.fenced);
  }
  return least;
}
function lower(into: Int32Array, from: Int32Array): void {
  for (let i = 0; i < into.length; i++) if (from[i]! < into[i]!) into[i] = from[i]!;
}

export function clear(clock: Clock): void {
  clock.seen.fill(0);
  clock.fenced.fill(0);
}

/** The owner's writes so far, and those that it knows, become visible to the async proxy. */
export function fence(clock: Clock, owner: number, epoch: number): void {
  raise(clock.fenced, clock.seen);
  clock.fenced[owner] = epoch;
  clock.version++;
}
