/** `cost`: what a million tokens take in time and money over the context, dense and with sparse attention. Needs no GPU. */
import { readFileSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { crossover, type Model, models, type Phase, phases, type Rates, stages, timeOf } from "../../bench/price/model.ts";
import { paperRates, ratesOfReport, rooflineRates } from "../../bench/price/rates.ts";
import { drawPrices } from "../../bench/price/svg.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { quoteAll } from "../../dsl/names.ts";
import { UsageError } from "./failure.ts";
import { checked, type SpecOptions, specsOf, wholeNumber, withSpecs } from "./options.ts";
import { writeJson } from "./outcomes.ts";
import { printTable } from "./table.ts";

interface CostOptions extends SpecOptions {
  readonly context?: readonly number[];
  readonly gpuHour: number;
  readonly rates: string;
  readonly json?: string;
  readonly svg?: string;
}

export const addCost = (program: Command): Command =>
  withSpecs(program.command("cost"))
    .description("Price a million tokens over the context, dense and with sparse attention, from the rates of the kernels.")
    .option("--context <tokens>", "position of the tokens, repeatable; 1K to 128K unless given", checked(addContext))
    .option("--gpu-hour <dollars>", "what an hour of one GPU costs", checked(dollars), 2)
    .option("--rates <source>", "of the kernels: paper, roofline, or a file that bench --json wrote", "paper")
    .option("--json <file>", "write all figures as JSON, - for stdout")
    .option("--svg <file>", "draw dollars over the context")
    .action(costCommand);

const defaultContexts = Array.from({ length: 8 }, (_, i) => 1024 * 2 ** i);

function addContext(text: string, before: readonly number[] = []): readonly number[] {
  const context = wholeNumber(text);
  if (context === 0) throw new RangeError("A token sees itself at least.");
  return [...before, context];
}

function dollars(text: string): number {
  const amount = Number(text);
  if (!/^[\d.]+$/.test(text) || !(amount > 0)) throw new RangeError(`"${text}" is not an amount of dollars.`);
  return amount;
}

/** Of one million tokens. */
interface Price {
  readonly phase: Phase;
  readonly context: number;
  readonly dense: { readonly dollars: number; readonly seconds: number };
  readonly sparse: { readonly dollars: number; readonly seconds: number };
}

function costCommand(options: CostOptions): void {
  const [dsa, another] = specsOf(options, ["v3.2"]);
  if (!dsa || another) throw new UsageError("cost takes one --preset");
  const model = models[dsa.name.split("+")[0]!];
  if (!model) throw new UsageError(`the layers of ${dsa.name} are not known`, `one of the presets ${quoteAll(Object.keys(models))}`);
  const rates = ratesFrom(options.rates, dsa);

  const priced = (seconds: number) => ({ dollars: (1e6 * seconds * options.gpuHour) / 3600, seconds: 1e6 * seconds });
  const contexts = [...(options.context ?? defaultContexts)].sort((a, b) => a - b);
  const prices = phases.flatMap((phase) =>
    contexts.map((context): Price => {
      const { dense, sparse } = timeOf(phase, dsa, model, rates, context);
      return { phase, context, dense: priced(dense), sparse: priced(sparse) };
    }),
  );
  const title = `a million tokens of ${dsa.name} at ${options.gpuHour} dollars a GPU hour`;
  if (options.json !== undefined) writeJson(options.json, { format: 1, spec: dsa.name, gpuHour: options.gpuHour, layers: model.layers, rates, prices });
  if (options.svg !== undefined) {
    const curves = phases.map((phase) => ({
      phase,
      points: prices.filter((p) => p.phase === phase).map(({ context, dense, sparse }) => ({ context, dense: dense.dollars, sparse: sparse.dollars })),
    }));
    writeFileSync(options.svg, drawPrices(title, curves, `${model.layers} layers; ${meaning(model)}; rates: ${options.rates}.`));
  }
  if (options.json !== "-") print(title, prices, { dsa, model, rates, longest: contexts.at(-1)! });
}

function ratesFrom(source: string, dsa: Dsa): Rates {
  if (source === "paper") return paperRates;
  if (source === "roofline") return rooflineRates(dsa);
  try {
    return ratesOfReport(readFileSync(source, "utf8"), dsa);
  } catch (error) {
    const reason = error instanceof RangeError ? error.message : "there is no such file";
    throw new UsageError(`--rates ${source}: ${reason}`, "paper, roofline, or a file that `npm run bench -- --json F` wrote");
  }
}

const meaning = ({ fixed }: Model): string =>
  fixed ? "all of a token, with what does not depend on the context as the paper's figure has it, on an H800" : "only what grows with the context: nobody published the rest";

interface Priced {
  readonly dsa: Dsa;
  readonly model: Model;
  readonly rates: Rates;
  readonly longest: number;
}

function print(title: string, prices: readonly Price[], { dsa, model, rates, longest }: Priced): void {
  console.log(`${title}, ${model.layers} layers; ${meaning(model)}`);
  for (const phase of phases) {
    console.log(`\n${phase}`);
    printTable(
      ["context", "dense $", "dense s", "sparse $", "sparse s", "dense / sparse"],
      prices.filter((p) => p.phase === phase).map(({ context, dense, sparse }) => [
        `${context}`,
        dense.dollars.toFixed(4),
        dense.seconds.toFixed(1),
        sparse.dollars.toFixed(4),
        sparse.seconds.toFixed(1),
        (dense.seconds / sparse.seconds).toFixed(2),
      ]),
    );
    const from = crossover(phase, dsa, model, rates, longest);
    console.log(from === undefined ? "sparse attention is not cheaper there" : `sparse attention is cheaper from ${from} tokens on`);
  }
  console.log(`\nseconds of a million tokens at ${longest}, by stage`);
  const rows = phases.flatMap((phase) => {
    const time = timeOf(phase, dsa, model, rates, longest);
    return stages.flatMap((stage) => {
      const { flops, bytes, from } = rates[phase][stage];
      const rate = [...(flops ? [`${(flops / 1e12).toFixed(0)} TFLOPS`] : []), ...(bytes ? [`${(bytes / 1e12).toFixed(2)} TB/s`] : [])].join(", ");
      return time.stages[stage] === 0 ? [] : [[phase, stage, (1e6 * time.stages[stage]).toFixed(1), rate, from]];
    });
  });
  printTable(["phase", "stage", "seconds", "at most", "rate from"], rows);
}
