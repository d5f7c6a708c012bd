"""Operations on decisions (subset, difference, product of a stack, witness, enumeration, the typed view).

Being written by a second helper (10), with the commands prove, diff, subset, fuse, decompile and optimize; the compiler's
helper (5) keeps to dispatch, arguments, certificate, `seclude compile` and the numbers.
"""
