/** Laws of layouts: which thread and register hold an element. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  assemble, covered, distribute, linearLayout, printLayout, project, registerCount, renameAxes, replicated, sameLayout, spread, threadCount, vectorWidth,
  type Digit, type Layout,
} from "../../../compiler/ir/layout.ts";
import type { Axis } from "../../../compiler/ir/tile.ts";

const axesOf = (count: number): fc.Arbitrary<Axis[]> =>
  fc.array(fc.integer({ min: 1, max: 12 }), { minLength: count, maxLength: count }).map((extents) => extents.map((extent, i) => ({ name: "abc"[i]!, extent })));
const axes = fc.integer({ min: 1, max: 3 }).chain(axesOf);
const powerOfTwo = fc.integer({ min: 0, max: 5 }).map((n) => 2 ** n);
const linear = fc.tuple(axes, powerOfTwo).map(([a, threads]) => ({ axes: a, threads, layout: linearLayout(a, threads) }));

/** Position along each axis that a thread's register holds. */
function position(l: Layout, thread: number, register: number): Record<string, number> {
  const at: Record<string, number> = {};
  const add = (digits: readonly Digit[], index: number): void => {
    for (const d of digits) {
      if (d.axis !== null) at[d.axis] = (at[d.axis] ?? 0) + (index % d.size) * d.stride;
      index = Math.floor(index / d.size);
    }
  };
  add(l.threads, thread);
  add(l.registers, register);
  return at;
}
const key = (at: Readonly<Record<string, number>>, names: readonly string[]): string => names.map((n) => at[n] ?? 0).join();
const pairs = (l: Layout): [number, number][] => Array.from({ length: threadCount(l) }, (_, t) => Array.from({ length: registerCount(l) }, (_, r): [number, number] => [t, r])).flat();
const copies = (l: Layout): number => l.threads.reduce((n, d) => (d.axis === null ? n * d.size : n), 1);

describe("linearLayout", () => {
  test("every element has a thread and register; each as often as copies are declared", () => {
    fc.assert(
      fc.property(linear, ({ axes, threads, layout }) => {
        expect(threadCount(layout)).toBe(threads);
        const names = axes.map((a) => a.name);
        const holders = new Map<string, number>();
        for (const [t, r] of pairs(layout)) {
          const at = key(position(layout, t, r), names);
          holders.set(at, (holders.get(at) ?? 0) + 1);
        }
        for (const n of holders.values()) expect(n).toBe(copies(layout));
        const walk = (rest: readonly Axis[], at: readonly number[]): void => {
          const [axis, ...more] = rest;
          if (axis) for (let i = 0; i < axis.extent; i++) walk(more, [...at, i]);
          else expect(holders.has(at.join())).toBe(true);
        };
        walk(axes, []);
      }),
    );
  });

  test("consecutive threads hold consecutive runs of the innermost axis", () => {
    expect(printLayout(linearLayout([{ name: "a", extent: 4 }, { name: "c", extent: 64 }], 16))).toBe("threads(c 16 by 4) registers(c 4, a 4)");
    expect(printLayout(linearLayout([{ name: "c", extent: 3 }], 8))).toBe("threads(c 4, copies 2) registers(1)");
  });
});

test("distribute covers every axis, and nothing twice", () => {
  const slots = fc.array(fc.record({ name: fc.constantFrom("x", "y"), on: fc.constantFrom("thread" as const, "register" as const), size: powerOfTwo, order: fc.nat(3) }), { maxLength: 3 });
  fc.assert(
    fc.property(axes, slots, (a, s) => {
      const digits = distribute(a, s);
      const layout = assemble(digits, digits.reduce((n, d) => (d.on === "thread" ? n * d.size : n), 1));
      for (const { name, extent } of a) {
        const own = [...layout.threads, ...layout.registers].filter((d) => d.axis === name).sort((x, y) => x.stride - y.stride);
        let next = 1;
        for (const d of own) {
          expect(d.stride).toBe(next);
          next *= d.size;
        }
        expect(next).toBeGreaterThanOrEqual(extent);
        expect(covered(layout, name)).toBe(next);
      }
    }),
  );
});

describe("project", () => {
  test("keeps positions along the axes that stay", () => {
    fc.assert(
      fc.property(linear, fc.subarray(["a", "b", "c"]), ({ layout }, kept) => {
        const l = project(layout, kept);
        expect(threadCount(l)).toBe(threadCount(layout));
        for (let t = 0; t < threadCount(l); t++) {
          const seen = new Set(Array.from({ length: registerCount(l) }, (_, r) => key(position(l, t, r), kept)));
          const wanted = new Set(Array.from({ length: registerCount(layout) }, (_, r) => key(position(layout, t, r), kept)));
          expect(seen).toEqual(wanted);
        }
      }),
    );
  });

  test("is idempotent, and projections commute", () => {
    fc.assert(
      fc.property(linear, fc.subarray(["a", "b", "c"]), fc.subarray(["a", "b", "c"]), ({ layout }, x, y) => {
        const [once, both] = [project(layout, x), project(layout, x.filter((n) => y.includes(n)))];
        expect(sameLayout(project(once, x), once)).toBe(true);
        expect(sameLayout(project(once, y), both)).toBe(true);
        expect(sameLayout(project(project(layout, y), x), both)).toBe(true);
      }),
    );
  });

  test("drops an axis into copies of threads", () => {
    const l = project(linearLayout([{ name: "a", extent: 4 }, { name: "c", extent: 8 }], 32), ["a"]);
    expect(printLayout(l)).toBe("threads(copies 8, a 4) registers(1)");
    expect(replicated(l)).toBe(true);
  });
});

describe("sameLayout", () => {
  test("means the same holder of every element", () => {
    fc.assert(
      fc.property(axes, powerOfTwo, fc.constantFrom(1, 2, 4), (a, threads, vector) => {
        const names = a.map((x) => x.name);
        const other = assemble(distribute(a, [{ name: "v", on: "register", size: vector, order: 0 }, { name: "t", on: "thread", size: threads, order: 1 }]), threads);
        const layout = linearLayout(a, threads);
        const table = (l: Layout): string[] => pairs(l).map(([t, r]) => key(position(l, t, r), names));
        if (sameLayout(layout, other)) expect(table(other)).toEqual(table(layout));
      }),
    );
  });

  test("does not depend on how digits are split", () => {
    const digit = (size: number, stride: number): Digit => ({ axis: "c", size, stride });
    const whole = { threads: [digit(8, 1)], registers: [digit(4, 8)] };
    expect(sameLayout(whole, { threads: [digit(2, 1), digit(4, 2)], registers: [digit(2, 8), digit(1, 0), digit(2, 16)] })).toBe(true);
    expect(sameLayout(whole, { threads: [digit(4, 2), digit(2, 1)], registers: [digit(4, 8)] })).toBe(false);
    expect(sameLayout(whole, { threads: [digit(8, 4)], registers: [digit(4, 1)] })).toBe(false);
  });

  test("renaming axes back gives the layout back", () => {
    fc.assert(
      fc.property(linear, ({ layout }) => {
        expect(renameAxes(renameAxes(layout, { a: "z" }), { z: "a" })).toEqual(layout);
      }),
    );
  });
});

test("spread covers further axes with the threads that held copies, and leaves what there was", () => {
  const powers = fc.integer({ min: 0, max: 3 }).map((n) => 2 ** n);
  fc.assert(
    fc.property(powers, powers, powers, powers, powerOfTwo, (a, b, c, d, threads) => {
      const old: Axis[] = [{ name: "a", extent: a }, { name: "b", extent: b }];
      const more: Axis[] = [{ name: "c", extent: c }, { name: "d", extent: d }];
      const before = linearLayout(old, threads);
      const after = spread(before, more);
      expect(threadCount(after)).toBe(threads);
      expect(sameLayout(project(after, ["a", "b"]), before)).toBe(true);
      const held = pairs(after).map(([t, r]) => key(position(after, t, r), ["a", "b", "c", "d"]));
      expect(new Set(held).size).toBe(a * b * c * d);
      if (!replicated(after)) expect(held.length).toBe(a * b * c * d);
      expect(registerCount(after)).toBe(Math.max(registerCount(before), (a * b * c * d) / threads, 1));
    }),
  );
});

test("vectorWidth divides", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 8 }), (n, most) => {
      expect(n % vectorWidth(n, most)).toBe(0);
      expect(vectorWidth(n, most)).toBeLessThanOrEqual(most);
    }),
  );
});
