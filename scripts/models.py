"""Write the table of docs/models.md: parameters and FLOPs of the models as they are. ``--check`` only compares."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from genfast.models import GANConfig, VAEConfig
from genfast.models.counts import describe

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- scripts/models.py -->", "<!-- end -->"
MODELS = {
    **{f"GANConfig.digits({kind!r})": GANConfig.digits(kind)
       for kind in ("mlp_gan", "dcgan", "conditional_gan", "sequence_gan")},
    "GANConfig(kind='mlp_gan', image_size=28, in_channels=1)": GANConfig(kind="mlp_gan", image_size=28, in_channels=1),
    **{f"GANConfig(image_size={size})": GANConfig(image_size=size) for size in (28, 32, 64, 128)},
    "VAEConfig.digits('mlp')": VAEConfig.digits("mlp"),
    "VAEConfig.digits('conv')": VAEConfig.digits("conv"),
    "VAEConfig.digits('conv', classes=10)": VAEConfig.digits("conv", classes=10),
    "VAEConfig(kind='mlp', image_size=28, in_channels=1)": VAEConfig(kind="mlp", image_size=28, in_channels=1),
    "VAEConfig(image_size=32)": VAEConfig(image_size=32),
}  # fmt: skip


def table() -> str:
    rows = ["| Model | Network | Parameters | MFLOPs per image |", "|---|---|---:|---:|"]
    for name, config in MODELS.items():
        for k, part in enumerate(describe(config)):
            label = "" if k else f"`{name}`"
            rows.append(f"| {label} | {part.name} | {part.parameters:,} | {part.flops / 1e6:,.2f} |")
    return "\n".join(rows)


def written(text: str) -> str:
    """``text`` with the table of today between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the document has other numbers")
    text = DOCUMENT.read_text()
    new = written(text)
    if parser.parse_args().check:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
