"""``seclude compile``: a policy into a filter, proven, in the form that somebody needs."""

from __future__ import annotations

import sys

from seclude.cli.options import Command, Option
from seclude.errors import InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.cli.options import Arguments
    from seclude.compiler import Filter

__all__ = ["COMMAND", "main", "read_weights"]

COMMAND = Command(
    "compile",
    "compile POLICY [options]",
    "Compile a policy (a preset's name or a file) into a BPF filter, read it back and prove it equal to the policy.",
    (
        Option("--output, -o", "FILE", "where to write the filter, instead of standard output ('-')"),
        Option("--emit", "FORM", "what to write", default="raw", choices=("raw", "asm", "c", "go", "rust", "json")),
        Option("--name", "NAME", "the identifier in C, Go and Rust", default="filter"),
        Option("--optimize-for", "WHAT", "which calls are to be fast", default="blend", choices=("blend", "bitmap", "profile", "uniform")),
        Option("--weights", "FILE", "how often each call is made: a JSON object, call name to number"),
        Option("--certificate", "FILE", "write what is known of the filter as JSON ('-': a table on standard error)"),
        Option("--arch", "ARCH", "the architecture that 'native' means, instead of this machine's"),
        Option("--allow", "RULE", "a rule to try before the policy's own", many=True),
        Option("--deny", "RULE", "the same, denying with EPERM", many=True),
        Option("--reported", "", "compile the form that tells a supervisor of every denial"),
    ),
    epilog="""
what --optimize-for means:
  blend     calls that the kernel's bitmap skips (plainly allowed, since Linux 5.11) weigh a tenth
  bitmap    they weigh next to nothing
  profile   every call weighs what --weights says
  uniform   every permitted call weighs the same

exit codes: 0 written, 125 anything else: then nothing was written
""",
)


def main(arguments: Arguments) -> int:
    """Compile and write; the exit code."""
    from seclude.cli.output import refuse_terminal, write_file, write_out
    from seclude.compiler.emit import emitted

    if len(arguments.rest) != 1:
        raise UsageError("seclude compile: name one policy", "see: seclude compile --help")
    form = arguments.text("emit") or "raw"
    target = arguments.text("output")
    if form == "raw":
        refuse_terminal(target, "seclude compile: a filter is binary, and standard output is a terminal", "give -o FILE, or --emit asm")
    built = _built(arguments)
    text = emitted(built.program, form, arguments.text("name") or "filter")
    certificate = arguments.text("certificate")
    if certificate is not None and certificate != "-":
        import json

        write_file(certificate, (json.dumps(built.certificate.as_json(), indent=2) + "\n").encode())
    write_out(target, text)
    if certificate == "-":
        sys.stderr.write(f"{built.certificate}\n")
    return 0


def _built(arguments: Arguments) -> Filter:
    from seclude import abi
    from seclude.compiler import compile as build
    from seclude.policy import load
    from seclude.sandbox.prepare import with_rules

    native = arguments.text("arch")
    policy = load(arguments.rest[0], native=abi.arch(native).name if native else None)
    policy = with_rules(policy, [(kind, rule) for kind, rule in arguments.ordered if kind in ("allow", "deny")])
    file = arguments.text("weights")
    weights = read_weights(file) if file is not None else None
    mode = arguments.text("optimize_for") or "blend"
    built = build(policy, optimize_for=mode, weights=weights)
    if not arguments.flag("reported"):
        return built
    from seclude.compiler.build import Filter, compile_decision
    from seclude.decision import reported

    told = reported(built.decision)
    program = compile_decision(told, built.program.byteorder, optimize_for=mode, weights=weights, order=built.order)
    return Filter(program, told, policy, mode, weights, built.order)


def read_weights(file: str) -> dict[str, float]:
    """A profile: a JSON object, call name to a number that is not negative. Raises `InputError` with the place."""
    import json

    try:
        with open(file, encoding="utf-8") as handle:
            found = json.load(handle)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{error.lineno}:{error.colno}: {error.msg}", 'a profile reads: {"read": 120, "write": 80}') from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply", 'a profile reads: {"read": 120, "write": 80}') from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{file}: expected an object of calls and numbers", 'a profile reads: {"read": 120, "write": 80}')
    return found
