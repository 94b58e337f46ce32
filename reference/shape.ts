/**
 * Checks that every stage makes on its arguments, so that a wrong shape is one sentence and not a NaN three stages later.
 * @module
 */

/** Throws unless `array` holds exactly the product of the named extents. */
export function requireShape(stage: string, name: string, array: ArrayLike<unknown>, axes: Readonly<Record<string, number>>): void {
  const extents = Object.entries(axes);
  const bad = extents.find(([, extent]) => !Number.isInteger(extent) || extent < 0);
  if (bad)
    throw new RangeError(`${stage}: extent ${bad[0]} is ${bad[1]}, but extents are integers of at least 0. Check the shape that you pass.`);
  const wanted = extents.reduce((product, [, extent]) => product * extent, 1);
  if (array.length === wanted) return;
  const shape = extents.map(([axis, extent]) => `${axis} ${extent}`).join(", ");
  throw new RangeError(
    `${stage}: ${name} has ${array.length} elements, but [${shape}] needs ${wanted}. Check that array and shape describe the same tensor.`,
  );
}

/** The numbers as a Float64Array: hot loops see one array type. Copies only what is not one already. */
export const asFloat64 = (values: ArrayLike<number>): Float64Array => (values instanceof Float64Array ? values : Float64Array.from(values));
