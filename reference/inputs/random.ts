/**
 * Random numbers from a seed. The same seed gives the same data on every machine.
 * @module
 */

import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { mersenne } from "pure-rand/generator/mersenne";

export interface Random {
  /** In [0, 1). */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
  /** In [low, high]. */
  integer(low: number, high: number): number;
  /** +1 or −1. */
  sign(): number;
}

export function randomOf(seed: number): Random {
  const generator = mersenne(seed);
  const uniform = (): number => uniformFloat64(generator);
  const integer = (low: number, high: number): number => low + Math.floor(uniform() * (high - low + 1));
  return {
    uniform,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()), // Box–Muller
    sign: () => (uniform() < 0.5 ? -1 : 1),
  };
}

/** `length` values of `draw`. */
export function drawArray(length: number, draw: (i: number) => number): Float64Array {
  const values = new Float64Array(length);
  for (let i = 0; i < length; i++) values[i] = draw(i);
  return values;
}

/** 0 … length − 1 in random order. */
export function permutation(random: Random, length: number): Int32Array {
  const order = Int32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const other = random.integer(0, i);
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return order;
}
