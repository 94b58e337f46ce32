"""Trains the model of model.py and exports the activations that the kernels run on: trace/data/*.safetensors.

    python3 trace/pack_corpus.py                              # anywhere, once
    python3 trace/train.py --smoke --out /tmp/smoke           # every stage at toy size, seconds
    python3 trace/train.py --minutes 4 --index-minutes 1.5 --out trace/data

Stages: (1) train a byte-level language model for a fixed time; (2) freeze it and train one lightning indexer per exported
layer by the dense warm-up of the DeepSeek-V3.2 paper, KL(p || softmax(I)) with p the head-summed attention over all s <= t;
(3) measure on held-out text how much attention mass the selected tokens hold; (4) export. Needs PyTorch 2 and a GPU.
docs/trace.md says what the committed file was trained on and how good it is.
"""

import argparse
import datetime
import json
import lzma
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model import Attention, Indexer, LanguageModel, Projections, Shape, index_scores, rope_angles


@dataclass(frozen=True)
class Plan:
    context: int = 8192
    tokens_per_step: int = 65536
    lm_lr: float = 1.5e-3
    index_lr: float = 1e-3  # the paper's
    index_sequences: int = 4
    index_rows: int = 1024  # queries drawn per sequence and step; every one of them sees all its keys
    warmup_steps: int = 60
    recall_sizes: tuple[int, ...] = (64, 128, 256, 512, 1024)
    export_layers: int = 2
    export_positions: int = 16
    export_bytes: int = 8_000_000


SMOKE_SHAPE = Shape(layers=3, width=64, hidden=96, heads=2, query_latent=32, latent=96, index_heads=4)
SMOKE_PLAN = Plan(context=256, tokens_per_step=1024, index_sequences=2, index_rows=64, recall_sizes=(16, 64), export_bytes=500_000)


class Clock:
    """A stage of fixed length: `fraction` runs from 0 to 1."""

    def __init__(self, minutes: float):
        self.start, self.seconds = time.monotonic(), 60 * minutes

    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def fraction(self) -> float:
        return self.elapsed() / self.seconds


def set_lr(optimizer: torch.optim.Optimizer, peak: float, step: int, plan: Plan, clock: Clock) -> None:
    """Linear warm-up in steps, then linear decay to zero in time."""
    for group in optimizer.param_groups:
        group["lr"] = peak * min(1.0, (step + 1) / plan.warmup_steps) * max(0.0, 1.0 - clock.fraction())


def random_windows(text: Tensor, count: int, length: int) -> Tensor:
    starts = torch.randint(len(text) - length, (count,), device=text.device)
    return text[starts[:, None] + torch.arange(length, device=text.device)].long()


def spread_windows(text: Tensor, count: int, length: int) -> Tensor:
    return torch.stack([text[start : start + length] for start in torch.linspace(0, len(text) - length, count).long()]).long()


def mixed(device: torch.device) -> torch.autocast:
    """bf16 for the language model. Entered anew for every pass: autocast reuses its casts of the weights until it is left."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


# Stage 1


def bits_per_byte(model: LanguageModel, tokens: Tensor) -> Tensor:
    with mixed(tokens.device):
        logits = model(tokens[:, :-1]).float()
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) / math.log(2)


def train_language_model(model: LanguageModel, text: Tensor, plan: Plan, minutes: float) -> dict:
    """The first half of the time at a quarter of the context, where a step is cheaper, then at all of it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lm_lr, betas=(0.9, 0.95), weight_decay=0.1)
    clock, step, seen, last_report, loss = Clock(minutes), 0, 0, -math.inf, math.nan
    while clock.fraction() < 1:
        context = plan.context // 4 if clock.fraction() < 0.5 else plan.context
        set_lr(optimizer, plan.lm_lr, step, plan, clock)
        bits = bits_per_byte(model, random_windows(text, plan.tokens_per_step // context, context + 1))
        optimizer.zero_grad(set_to_none=True)
        bits.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss = bits.item()
        if not math.isfinite(loss):
            raise SystemExit(f"language model diverged at step {step}: {loss}")
        step, seen = step + 1, seen + plan.tokens_per_step
        if clock.elapsed() > last_report + 10:
            last_report = clock.elapsed()
            speed = seen / last_report / 1e3
            print(f"lm step {step} context {context} bytes {seen / 1e6:.1f}M {loss:.3f} bits/byte, {speed:.0f} kB/s", flush=True)
    return {"lm_steps": step, "lm_bytes_seen": seen, "lm_seconds": round(clock.elapsed(), 1), "lm_last_train_bits_per_byte": loss}


# Stage 2


def future(rows: Tensor, count: int) -> Tensor:
    """[T, N]: true where a key comes after the query."""
    return torch.arange(count, device=rows.device) > rows[:, None]


@torch.no_grad()
def attention_mass(attention: Attention, p: Projections, rows: Tensor) -> Tensor:
    """[B, T, N]: the heads' probabilities for the queries at `rows`, summed and normalised to 1."""
    with mixed(rows.device):
        q, k, _ = attention.expand(p)
    hidden = future(rows, k.shape[2])
    masses = []
    for query, key in zip(q[:, :, rows].float(), k.float()):  # one sequence at a time: [H, T, N] is large
        logits = (query @ key.transpose(-1, -2)) * attention.shape.sm_scale
        masses.append(logits.masked_fill_(hidden, -math.inf).softmax(-1).mean(0))
    return torch.stack(masses)


@torch.no_grad()
def layer_inputs(model: LanguageModel, tokens: Tensor, layers: list[int]) -> list[tuple[Tensor, Projections]]:
    angles = rope_angles(model.shape, tokens.shape[1], tokens.device)
    with mixed(tokens.device):
        inputs = model.attention_inputs(tokens)
        return [(inputs[layer], model.blocks[layer].attention.project(inputs[layer], angles)) for layer in layers]


def scores_at(indexer: Indexer, x: Tensor, p: Projections, rows: Tensor) -> Tensor:
    """[B, T, N]."""
    q, k, w = indexer(x, p.query_latent, rope_angles(indexer.shape, x.shape[1], x.device))
    return index_scores(q[:, rows], k, w[:, rows])


def divergence(mass: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
    """Mean over queries of KL(mass || softmax(scores)), in nats."""
    # finite, so that the zero mass of a future key times its log-probability is zero and not NaN
    log_pi = scores.masked_fill(future(rows, scores.shape[-1]), -1e9).log_softmax(-1)
    return (torch.xlogy(mass, mass) - mass * log_pi).sum(-1).mean()


def train_indexers(
    model: LanguageModel, indexers: dict[int, Indexer], text: Tensor, plan: Plan, minutes: float, half_way: Callable[[], None]
) -> dict:
    weights = [w for indexer in indexers.values() for w in indexer.parameters()]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.0)
    clock, step, last_report, exported = Clock(minutes), 0, -math.inf, False
    while clock.fraction() < 1:
        if clock.fraction() > 0.5 and not exported:
            half_way()
            exported = True
        set_lr(optimizer, plan.index_lr, step, plan, clock)
        tokens = random_windows(text, plan.index_sequences, plan.context)
        rows = torch.randperm(plan.context, device=text.device)[: plan.index_rows]
        losses = {}
        for layer, (x, p) in zip(indexers, layer_inputs(model, tokens, list(indexers))):
            loss = divergence(attention_mass(model.blocks[layer].attention, p, rows), scores_at(indexers[layer], x, p, rows), rows)
            loss.backward()
            losses[layer] = loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise SystemExit(f"indexer diverged at step {step}: {losses}")
        if clock.elapsed() > last_report + 10:
            last_report = clock.elapsed()
            print(f"indexer step {step} KL {losses}", flush=True)
    queries = plan.index_sequences * plan.index_rows
    return {"index_steps": step, "index_queries_per_step": queries, "index_seconds": round(clock.elapsed(), 1)}


# Stage 3


def recall(mass: Tensor, scores: Tensor, rows: Tensor, sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Mean share of the attention mass held by k tokens: the indexer's, the best possible, the last k."""
    hidden, columns = future(rows, mass.shape[-1]), torch.arange(mass.shape[-1], device=mass.device)
    scores = scores.masked_fill(hidden, -math.inf)
    table = {}
    for k in sizes:
        window = ~hidden & (columns > rows[:, None] - k)
        table[str(k)] = {
            "indexer": mass.gather(-1, scores.topk(k).indices).sum(-1).mean().item(),
            "oracle": mass.topk(k).values.sum(-1).mean().item(),
            "window": (mass * window).sum(-1).mean().item(),
        }
    return table


@torch.no_grad()
def most_selective_layers(model: LanguageModel, text: Tensor, plan: Plan) -> tuple[list[int], dict]:
    """The layers where the best k = context/32 tokens hold the most mass beyond what the last k hold: there selection can pay."""
    tokens, k = spread_windows(text, plan.index_sequences, plan.context), plan.context // 32
    rows = torch.arange(plan.context // 2, plan.context, 16, device=text.device)
    table = {}
    for layer, (_, p) in enumerate(layer_inputs(model, tokens, list(range(model.shape.layers)))):
        mass = attention_mass(model.blocks[layer].attention, p, rows)
        table[layer] = recall(mass, mass, rows, (k,))[str(k)]
    gain = {layer: shares["oracle"] - shares["window"] for layer, shares in table.items()}
    chosen = sorted(sorted(gain, key=lambda layer: -gain[layer])[: plan.export_layers])
    return chosen, {str(layer): {"k": k, "oracle": shares["oracle"], "window": shares["window"]} for layer, shares in table.items()}


@torch.no_grad()
def evaluate(model: LanguageModel, indexers: dict[int, Indexer], text: Tensor, plan: Plan) -> dict:
    """At the full context, on windows spread over the held-out text, queries in the second half of the context."""
    tokens = spread_windows(text, 2 * plan.index_sequences, plan.context)
    rows = torch.arange(plan.context // 2, plan.context, 16, device=text.device)
    quality = {}
    for layer, (x, p) in zip(indexers, layer_inputs(model, tokens, list(indexers))):
        mass, scores = attention_mass(model.blocks[layer].attention, p, rows), scores_at(indexers[layer], x, p, rows)
        quality[str(layer)] = {"kl_nats": divergence(mass, scores, rows).item(), "recall": recall(mass, scores, rows, plan.recall_sizes)}
    return quality


# Stage 4


def export_context(shape: Shape, plan: Plan) -> int:
    """The most tokens, in pages of 64, that keep the file under its limit."""
    query = 2 * shape.heads * (shape.latent + shape.rope) + 2 * shape.index_heads * shape.index_dim + 4 * shape.index_heads
    row = 2 * (shape.latent + shape.rope) + 2 * shape.index_dim
    header = 16384
    rows = (plan.export_bytes - header) // plan.export_layers - plan.export_positions * query
    return min(plan.context, rows // row // 64 * 64)


@torch.no_grad()
def export_tensors(model: LanguageModel, indexers: dict[int, Indexer], text: Tensor, plan: Plan) -> tuple[dict[str, Tensor], dict]:
    """One sequence of held-out text. Values are rounded to bf16 after RoPE; no Hadamard rotation, no FP8."""
    count = export_context(model.shape, plan)
    positions = (torch.arange(1, plan.export_positions + 1, device=text.device) * count) // plan.export_positions - 1
    tensors, quality = {"positions": positions.int()}, {}
    for layer, (x, p) in zip(indexers, layer_inputs(model, text[None, :count].long(), list(indexers))):
        attention = model.blocks[layer].attention
        queries, rows = (t[0].bfloat16() for t in attention.absorb(p))
        index_q, index_k, index_w = (t[0] for t in indexers[layer](x, p.query_latent, rope_angles(model.shape, count, x.device)))
        index_q, index_k = index_q.bfloat16(), index_k.bfloat16()
        part = {
            "q_absorbed": queries[positions],
            "kv_rows": rows,
            "index_q": index_q[positions],
            "index_k": index_k,
            "index_w": index_w[positions],
        }
        tensors |= {f"layers.{layer}.{name}": tensor.contiguous() for name, tensor in part.items()}

        # from the exported values alone, in f64, as a reader of the file would
        logits = torch.einsum("phc,sc->hps", part["q_absorbed"].double(), rows.double()) * model.shape.sm_scale
        mass = logits.masked_fill(future(positions, count), -math.inf).softmax(-1).mean(0)
        scores = index_scores(part["index_q"][None].double(), index_k[None].double(), part["index_w"][None].double())
        sizes = tuple(k for k in plan.recall_sizes if k <= count)
        gap = (mass - attention_mass(attention, p, positions)[0]).abs().sum(-1).max().item() / 2
        quality[str(layer)] = {"recall": recall(mass[None], scores, positions, sizes), "absorbed_against_expanded_total_variation": gap}
    return tensors, quality


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpus", type=Path, default=Path(__file__).parent / ".corpus")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--name", default="bytes-mla")
    arguments.add_argument("--minutes", type=float, default=4.0)
    arguments.add_argument("--index-minutes", type=float, default=1.5)
    arguments.add_argument("--seed", type=int, default=20260901)
    arguments.add_argument("--smoke", action="store_true")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shape, plan = (SMOKE_SHAPE, SMOKE_PLAN) if options.smoke else (Shape(), Plan())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")

    def load(name: str) -> Tensor:
        data = (options.corpus / name).read_bytes()
        return torch.frombuffer(bytearray(lzma.decompress(data) if name.endswith(".xz") else data), dtype=torch.uint8).to(device)

    train, held_out, export_text = load("train.xz"), load("heldout.xz"), load("export.txt")
    corpus = json.loads((options.corpus / "manifest.json").read_text())
    model = LanguageModel(shape).to(device)
    record: dict = {
        "seed": options.seed,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "parameters": sum(w.numel() for w in model.parameters()),
        "shape": asdict(shape),
        "plan": asdict(plan),
        "corpus": {key: value for key, value in corpus.items() if key != "packages"},
    }

    record |= train_language_model(model, train, plan, options.minutes)
    model.requires_grad_(False)
    with torch.no_grad():
        windows = spread_windows(held_out, 16, plan.context + 1)
        record["heldout_bits_per_byte"] = sum(bits_per_byte(model, window[None]).item() for window in windows) / len(windows)
        record["export_text_bits_per_byte"] = bits_per_byte(model, export_text[None, : export_context(shape, plan) + 1].long()).item()
    layers, record["layer_choice"] = most_selective_layers(model, held_out, plan)
    print({key: record[key] for key in ("heldout_bits_per_byte", "export_text_bits_per_byte", "layer_choice")}, layers, flush=True)
    indexers = {layer: Indexer(shape).to(device) for layer in layers}
    record["heldout_before_index_training"] = evaluate(model, indexers, held_out, plan)

    def save() -> None:
        """Called half-way too, so that a run that is cut off has brought something home."""
        record["heldout"] = evaluate(model, indexers, held_out, plan)
        tensors, record["export"] = export_tensors(model, indexers, export_text, plan)
        rope = f"theta {shape.theta}, position = row index"
        metadata = {
            "format": "tokensieve-trace-1",
            "sm_scale": repr(shape.sm_scale),
            "latent": str(shape.latent),
            "main_rope": f"interleaved pairs, last {shape.rope} of {shape.latent + shape.rope} channels, {rope}",
            "index_rope": f"half-split pairs, first {shape.rope} of {shape.index_dim} channels, {rope}",
            "index_values": "after RoPE, before Hadamard rotation and quantisation; index_w includes (index heads * index dim)^-0.5",
            "training": json.dumps(record),
        }
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, options.out / f"{options.name}.safetensors", metadata)
        (options.out / f"{options.name}.json").write_text(json.dumps(record, indent=1))
        print("saved", json.dumps({"heldout": record["heldout"], "export": record["export"]}), flush=True)

    record |= train_indexers(model, indexers, train, plan, options.index_minutes, save)
    save()


if __name__ == "__main__":
    main()
