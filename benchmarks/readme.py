"""Make the README's first table and the picture of a report from runs of `robbench demo`.

    python benchmarks/readme.py [--out FOLDER]

Writes README.md and .github/report.png; the picture needs `chromium` on the path. About five
minutes on two cores.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ATTACKS = (
    "attack demo-ce demo-at --attack apgd --threat linf:0.03,0.06,0.1,0.15,0.2 "
    "--store-points --measure"
)
BROWSER = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--hide-scrollbars"
)


def robbench(line: str, out: Path) -> str:
    words = [sys.executable, "-m", "robbench", *line.split(), "--out", str(out)]
    return subprocess.run(words, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout


def first_table(out: Path) -> str:
    """What `demo` prints, down to the last model."""
    lines = [line.rstrip() for line in robbench("demo", out).splitlines()]
    last = max(i for i, line in enumerate(lines) if line.startswith("demo-"))
    return "\n".join(lines[: last + 1])


def picture(out: Path, target: Path) -> None:
    """The upper part of the report of a security curve."""
    curve = out / "curve"  # apart from the runs of the first table
    shutil.copytree(out / "models", curve / "models", dirs_exist_ok=True)
    robbench(ATTACKS, curve)
    for model in ("demo-ce", "demo-at"):
        robbench(f"check {model}", curve)
    page = out / "report.html"
    robbench(f"report --html {page}", curve)
    with tempfile.TemporaryDirectory() as profile:
        words = [
            "chromium",
            *BROWSER.split(),
            f"--user-data-dir={profile}",
            "--window-size=1250,1730",
            "--virtual-time-budget=10000",
            f"--screenshot={target}",
            page.as_uri(),
        ]
        subprocess.run(words, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the runs go and are looked for (default: a folder for the time being)",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = (args.out or Path(temporary)).resolve()
        readme = HERE / "README.md"
        text = readme.read_text(encoding="utf-8")
        table = first_table(out)
        readme.write_text(
            re.sub(
                r"```\ndigits test.*?```",
                lambda _: f"```\n{table}\n```",
                text,
                count=1,
                flags=re.DOTALL,
            )
        )
        if shutil.which("chromium"):
            picture(out, HERE / ".github" / "report.png")
        else:
            print("no chromium: the picture is left as it is", file=sys.stderr)


if __name__ == "__main__":
    main()
