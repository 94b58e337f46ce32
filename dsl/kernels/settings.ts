/** Changes to a spec that arrive as text: `--set topK=1000 --set score=softplus`. */
import { didYouMean, quoteAll } from "../names.ts";
import { scores, type Dsa } from "./spec.ts";

interface Setting<T> {
  /** Legal values, for messages. */
  readonly legal: string;
  /** Undefined for text that is not a legal value. */
  readonly parse: (text: string) => T | undefined;
}

const integerFrom = (least: number): Setting<number> => ({
  legal: `an integer from ${least} on`,
  parse: (text) => (/^\d+$/.test(text) && Number.isSafeInteger(Number(text)) && Number(text) >= least ? Number(text) : undefined),
});
const positiveNumber: Setting<number> = {
  legal: "a positive number",
  parse: (text) => (text.trim() !== "" && Number(text) > 0 && Number.isFinite(Number(text)) ? Number(text) : undefined),
};
const oneOf = <T>(values: Readonly<Record<string, T>>): Setting<T> => ({
  legal: `one of ${quoteAll(Object.keys(values))}`,
  parse: (text) => (Object.hasOwn(values, text) ? values[text] : undefined),
});

/** Every field of a spec but its name. */
const settings: { readonly [K in Exclude<keyof Dsa, "name">]: Setting<Dsa[K]> } = {
  topK: integerFrom(1),
  indexerHeads: integerFrom(1),
  indexerDim: integerFrom(1),
  indexDtype: oneOf({ e4m3: "e4m3", bf16: "bf16" }),
  logitsDtype: oneOf({ f32: "f32", bf16: "bf16" }),
  score: oneOf(scores),
  scoreForm: oneOf({ exact: "exact", linear: "linear" }),
  pageTokens: integerFrom(1),
  nextN: integerFrom(1),
  heads: integerFrom(1),
  dV: integerFrom(1),
  dRope: integerFrom(0),
  smScale: positiveNumber,
  sink: oneOf({ true: true, false: false }),
  splits: integerFrom(1),
};

/**
 * The spec with some fields replaced by parsed text; its name lists the changes, so that no two specs share a name.
 * An unknown key or an illegal value is a RangeError that names the nearest key or the legal values.
 */
export function withSettings(spec: Dsa, texts: Readonly<Record<string, string>>): Dsa {
  const changes = Object.entries(texts).map(([key, text]) => [key, parseSetting(key, text)] as const);
  const name = [spec.name, ...Object.entries(texts).map(([key, text]) => `${key}=${text}`)].join("+");
  return { ...spec, ...Object.fromEntries(changes), name };
}

function parseSetting(key: string, text: string): unknown {
  const known: Readonly<Record<string, Setting<unknown>>> = settings;
  const setting = Object.hasOwn(known, key) ? known[key] : undefined;
  if (!setting) {
    throw new RangeError(
      `a spec has no setting "${key}".${didYouMean(key, Object.keys(known))} The settings are ${quoteAll(Object.keys(known))}.`,
    );
  }
  const value = setting.parse(text);
  if (value === undefined) throw new RangeError(`${key}=${text}: "${text}" is not ${setting.legal}.`);
  return value;
}
