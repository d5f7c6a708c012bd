"""Rules of paths against an oracle by regular expressions; the walk of a target's path against the kernel's own."""

import errno
import fnmatch
import os
import re
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from seclude.kernel import paths
from seclude.supervise.files_resolve import Found, Missing, Resolver
from seclude.supervise.files_rules import HIDDEN, NOTHING, PASS, READ, WRITE, Pattern, Rules, is_glob, literal_prefix, matches

NAMES = st.sampled_from([b"a", b"b", b"ab", b"abc", b".a", b"a.k", b"b.k", b"c"])
PARTS = st.sampled_from([b"a", b"b", b"*", b"**", b"?", b"a*", b"*.k", b"[ab]", b"[!a]*", b"a*c", b"ab"])
PATHS = st.lists(NAMES, max_size=5).map(lambda parts: b"/" + b"/".join(parts))
GLOBS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


def expression(glob):
    """The glob as a regular expression of what it matches and of everything beneath."""
    parts = []
    for part in glob.decode().strip("/").split("/"):
        if part == "**":
            parts.append("(?:/[^/]+)*")
        else:
            parts.append("/" + fnmatch.translate(part).replace("(?s:", "(?:").replace(".*", "[^/]*").removesuffix(r"\Z"))
    return re.compile("".join(parts) + r"(?:/[^/]+)*\Z")


def covered(glob, path):
    return expression(glob).match("" if path == b"/" else path.decode()) is not None


@given(st.binary(max_size=6).map(lambda raw: bytes(b"ab.*?[]!-"[byte % 9] for byte in raw)), st.text("ab.[]-!", max_size=6))
def test_a_component_matches_as_the_standard_library_has_it(pattern, name):
    # An unclosed set, and what starts with ^, are the standard library's own business.
    assert matches(pattern, name.encode()) == fnmatch.fnmatchcase(name, pattern.decode())


@given(GLOBS, PATHS)
def test_a_pattern_covers_what_the_expression_matches(glob, path):
    pattern = Pattern(glob)
    assert pattern.covers(pattern.states(path)) == covered(glob, path)


@given(GLOBS, PATHS, PATHS)
def test_no_states_means_that_nothing_beneath_can_match(glob, path, further):
    pattern = Pattern(glob)
    if not pattern.states(path):
        assert not covered(glob, path.rstrip(b"/") + further if further != b"/" else path)


@given(st.lists(GLOBS, max_size=3), st.lists(GLOBS, max_size=2), st.lists(GLOBS, max_size=2), PATHS)
def test_levels_are_what_the_grants_say_and_hiding_wins(read, write, hide, path):
    rules = Rules(read=read, write=write, hide=hide)
    level = rules.level(path)
    if any(covered(one, path) for one in hide):
        assert level == HIDDEN
    elif any(covered(one, path) for one in write):
        assert level == WRITE
    elif any(covered(one, path) for one in read):
        assert level == READ
    else:
        assert level in (NOTHING, PASS)
        if level == NOTHING:  # then it is on the way to nothing either
            for one in (*read, *write):
                prefix = literal_prefix(one)[0] if is_glob(one) else one
                assert not (prefix + b"/").startswith(path.rstrip(b"/") + b"/")
    assert rules.level(path) == level, "what is remembered is what was judged"


@given(st.lists(GLOBS, min_size=1, max_size=3), PATHS, PATHS, PATHS)
def test_a_permitted_move_uncovers_nothing(hide, source, target, beneath):
    rules = Rules(hide=hide, open=True)
    if rules.may_move(source, target):
        before, after = (rules.level(one.rstrip(b"/") + beneath.rstrip(b"/") or b"/") for one in (source, target))
        assert before != HIDDEN or after == HIDDEN


# -- the walk

TREE = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "a/x", "b/x", "a/x/y", "b/y"]),
        st.one_of(
            st.just("directory"),
            st.just("file"),
            st.sampled_from(["a", "../b", "x", "..", ".", "a/x/", "/TOP/b", "c", "../../b/x", "/proc/self/cwd", "/TOP/a/x/../../c"]),
        ),
    ),
    max_size=9,
)
WALKS = st.lists(st.sampled_from(["a", "b", "c", "x", "y", "..", ".", "", "none"]), min_size=1, max_size=6).map("/".join)


def plant(top, tree):
    for name, kind in tree:
        path = os.path.join(top, name)
        try:
            if kind == "directory":
                os.mkdir(path)
            elif kind == "file":
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            else:
                os.symlink(kind.replace("/TOP", top), path)
        except OSError:
            continue


def by_kernel(top, path, follow):
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=top)
    except OSError as error:
        return error.errno
    try:
        return paths.handle_path(handle)
    finally:
        os.close(handle)


@settings(max_examples=150, deadline=None)
@given(TREE, WALKS, st.booleans(), st.booleans(), st.booleans())
def test_a_walk_ends_where_the_kernels_does(tree, walk, absolute, follow, ordinary):
    resolver = Resolver()
    with tempfile.TemporaryDirectory(prefix="seclude-walk-", dir="/tmp") as name:
        plant(name, tree)
        path = os.fsencode(f"{name}/{walk}" if absolute else walk) or b"."
        top = os.open(name, os.O_PATH | os.O_DIRECTORY)
        view = resolver.view(os.getpid())
        assert view is not None
        try:
            view.ordinary = ordinary
            expected = by_kernel(top, path, follow)
            seen: object
            try:
                found = resolver.find(view, view.root if path.startswith(b"/") else top, path, follow=follow)
            except OSError as error:
                seen = error.errno
            else:
                assert isinstance(found, Found)
                seen = found.path
                found.close()
            assert seen == expected
        finally:
            view.close()
            resolver.close()
            os.close(top)


@settings(max_examples=60, deadline=None)
@given(TREE, WALKS, st.booleans())
def test_what_is_missing_is_named_by_where_it_would_be(tree, walk, ordinary):
    resolver = Resolver()
    with tempfile.TemporaryDirectory(prefix="seclude-walk-", dir="/tmp") as name:
        plant(name, tree)
        top = os.open(name, os.O_PATH | os.O_DIRECTORY)
        view = resolver.view(os.getpid())
        assert view is not None
        try:
            view.ordinary = ordinary
            path = os.fsencode(walk) or b"."
            expected = by_kernel(top, path, True)
            found: object
            try:
                there = resolver.find(view, view.root if path.startswith(b"/") else top, path, follow=True, create=True)
            except OSError as error:
                found = error.errno
            else:
                found = there.path
                if isinstance(there, Missing):
                    found = errno.ENOENT
                    assert os.path.dirname(there.whole) == there.path == os.path.realpath(there.path)
                    if not there.name.endswith(b"/") and there.path.startswith(os.fsencode(name)):  # else a link led out of it
                        os.close(os.open(path, os.O_CREAT, 0o600, dir_fd=top))
                        assert os.path.realpath(os.path.join(os.fsencode(name), path)) == there.whole
                there.close()
            assert found == expected
        finally:
            view.close()
            resolver.close()
            os.close(top)
