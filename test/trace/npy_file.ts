/** `.npy` bytes for tests; NumPy itself writes them for users. `header` goes in as it stands. */
export function npyFile(header: string, data: Uint8Array, version: 1 | 2 = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = [text.length & 0xff, text.length >>> 8, ...(version === 1 ? [] : [0, 0])];
  return Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length, ...text, ...data]);
}

/** The dict literal that `npyFile` takes, for one dtype such as `<f4`. */
export function npyHeader(descr: string, shape: readonly number[], fortranOrder: "True" | "False" = "False"): string {
  return `{'descr': '${descr}', 'fortran_order': ${fortranOrder}, 'shape': (${shape.map((extent) => `${extent},`).join(" ")}), }\n`;
}
