"""Judge a folder of submissions, C and Python, on a folder of test cases.

    python3 examples/judge.py SUBMISSIONS CASES      cases are pairs NAME.in and NAME.out
    python3 examples/judge.py                        a demonstration with submissions of its own

A compiler works on a stranger's text (it may include any file, and take for ever), so it runs under a policy and limits too. Answers lie in
a folder that no submission may open.
"""

import os
import sys
import tempfile
from pathlib import Path

import seclude

DEMONSTRATION = {
    "adds.c": '#include <stdio.h>\nint main(void) { long a, b; return scanf("%ld %ld", &a, &b) == 2 ? !printf("%ld\\n", a + b) : 1; }\n',
    "overflows.c": '#include <stdio.h>\nint main(void) { short a, b; return scanf("%hd %hd", &a, &b) == 2 ? !printf("%hd\\n", (short)(a + b)) : 1; }\n',
    "broken.c": "int main(void) { return sum; }\n",
    "adds.py": "print(sum(map(int, input().split())))\n",
    "asks_a_friend.py": "import socket\nprint(socket.create_connection(('198.51.100.7', 80)).recv(9))\n",
    "bombs.py": "import os\nwhile True: os.fork()\n",
    "looks_it_up.py": "import glob\nfor name in glob.glob('{cases}/*.out'): print(open(name).read())\nopen('{cases}/1.out')\n",
    "keeps_everything.py": "kept = []\nwhile True: kept.append('x' * 1000000)\n",
    "thinks.py": "while True: pass\n",
}
CASES = {"1": ("1 2", "3"), "2": ("30000 30000", "60000"), "3": ("-5 5", "0")}


def demonstration(place: Path) -> tuple[Path, Path]:
    """Folders with submissions and cases to look at."""
    submissions, cases = place / "submissions", place / "cases"
    submissions.mkdir()
    cases.mkdir()
    for name, text in DEMONSTRATION.items():
        (submissions / name).write_text(text.replace("{cases}", str(cases)))
    for name, (given, answer) in CASES.items():
        (cases / f"{name}.in").write_text(given + "\n")
        (cases / f"{name}.out").write_text(answer + "\n")
    return submissions, cases


def command(source: Path, place: Path) -> list[str] | str:
    """How to run a submission, or why it cannot be run."""
    if source.suffix == ".py":
        return [sys.executable, "-I", str(source)]
    program = place / source.stem
    done = seclude.run(
        ["gcc", "-O2", "-o", str(program), str(source), "-lm"],
        policy="container", limits={"cpu": "10s", "memory": "1G", "output": "16M"}, timeout=30, capture=True,
    )  # fmt: skip
    return [str(program)] if done.code == 0 else done.limit or "does not compile"


def main() -> None:
    """Judge, and print a table."""
    if len(sys.argv) not in (1, 3) or not all(map(os.path.isdir, sys.argv[1:])):
        sys.exit("usage: judge.py [SUBMISSIONS CASES], two directories")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        submissions, cases = map(Path, sys.argv[1:3]) if len(sys.argv) > 1 else demonstration(place)
        build = place / "build"
        build.mkdir()
        print(f"{'submission':20}  {'verdict':16} {'passed':>6}  {'cpu':>7}  {'memory':>8}")
        with seclude.Judge(cpu="500ms", wall="5s", memory="128M", output="1M") as judge:
            for source in sorted(path for path in submissions.iterdir() if path.suffix in (".c", ".py")):
                words = command(source, build)
                if isinstance(words, str):
                    print(f"{source.name:20}  {words}")
                    continue
                judged = list(judge.cases(words, cases, stop=True))
                last = judged[-1]
                passed = sum(one.accepted for one in judged)
                cpu, memory = max(one.cpu for one in judged), max(one.memory for one in judged)
                why = f"  {last.denied.text}  [{last.denied.rule}]" if last.denied else f"  {last.reason}"
                print(
                    f"{source.name:20}  {last.verdict:16} {passed:6}  {cpu:5.2f} s  {memory / 2**20:4.0f} MiB{why if last.reason else ''}"
                )


if __name__ == "__main__":
    main()
