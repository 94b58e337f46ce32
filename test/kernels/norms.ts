/** Normalisations of rows: RMSNorm in bf16, layer norm in f32 over an odd number of channels. */
import { blocks, each, input, kernel, load, map, output, scalar, sqrt, store, sum } from "../../dsl/index.ts";

const EPSILON = 1e-5;

const rmsChannels = 192;
export const rmsNorm = kernel("rms_norm", {
  args: {
    x: input("bf16", { r: "R", c: rmsChannels }),
    gain: input("f32", { c: rmsChannels }),
    y: output("bf16", { r: "R", c: rmsChannels }),
  },
  tune: { BR: 4 },
  grid: (a, { BR }) => ({ rb: blocks("r", 0, a.x.size.r, BR) }),
  body(a, _tune, { rb }) {
    const x = load(a.x.tile({ r: rb }));
    const meanSquare = map(
      [
        sum(
          map([x], (x) => x * x),
          "c",
        ),
      ],
      (s) => s / rmsChannels,
    );
    store(
      a.y.tile({ r: rb }),
      map([x, meanSquare, load(a.gain.tile({}))], (x, s, g) => (x / sqrt(s + EPSILON)) * g),
    );
  },
});

const layerChannels = 77;
export const layerNorm = kernel("layer_norm", {
  args: {
    x: input("f32", { r: "R", c: layerChannels }),
    gain: input("f32", { c: layerChannels }),
    shift: input("f32", { c: layerChannels }),
    y: output("f32", { r: "R", c: layerChannels }),
    mean: output("f32", { r: "R" }),
  },
  tune: {},
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, _tune, { r }) {
    const x = load(a.x.tile({ r }));
    const total = scalar(sum(x, "c")); // the same in all threads, unlike a tile
    const mean = map([sum(x, "c")], () => total / layerChannels);
    const centred = map([x, mean], (x, m) => x - m);
    const variance = map(
      [
        sum(
          map([centred], (d) => d * d),
          "c",
        ),
      ],
      (s) => s / layerChannels,
    );
    store(
      a.y.tile({ r }),
      map([centred, variance, load(a.gain.tile({})), load(a.shift.tile({}))], (d, v, g, b) => (d / sqrt(v + EPSILON)) * g + b),
    );
    store(a.mean.tile({ r }), mean);
  },
});
