/**
 * The reference: what every kernel of DeepSeek Sparse Attention means, in f64 and plain loops. It shares no code with the language, the
 * compiler or the targets, so that agreement with it is evidence.
 *
 * Read in this order: `formats`, `quantise`, `indexer`, `indexer_model`, `topk`, `selection`, `sparse_mla`, then `accuracy` and `bounds` for how far
 * a kernel may be from them, and `inputs/` for the data that they are tested on.
 * @module
 */

export * from "./accuracy.ts";
export * from "./bounds.ts";
export * from "./formats.ts";
export * from "./indexer.ts";
export * from "./indexer_model.ts";
export * from "./quantise.ts";
export * from "./selection.ts";
export * from "./sparse_mla.ts";
export * from "./topk.ts";
export * from "./topk_forms.ts";
export * from "./inputs/indexer.ts";
export * from "./inputs/mla.ts";
export * from "./inputs/random.ts";
export * from "./inputs/scores.ts";
